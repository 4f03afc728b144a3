//! The REST calls: one family a file, one call a function.

pub(crate) mod auth;
pub(crate) mod friends;
pub(crate) mod messages;
pub(crate) mod operations;
pub(crate) mod rooms;
pub(crate) mod users;

use futures::FutureExt;
use http::Method;

use crate::router::{Access, Route, Target};

macro_rules! routes {
    ($($method:ident $path:literal $access:ident $handler:path;)*) => {
        vec![$(Route {
            method: Method::$method,
            path: $path,
            target: Target::Rest(Access::$access, |call| $handler(call).boxed()),
        },)*]
    };
}

/// Every route that there is.
pub(crate) fn routes() -> Vec<Route> {
    let mut routes = routes! {
        POST "/auth/register" Open auth::register;
        POST "/auth/login" Open auth::login;
        POST "/auth/refresh" Open auth::refresh;
        POST "/auth/logout" Token auth::logout;
        GET "/auth/me" Token auth::me;
        PATCH "/auth/me" Token auth::update_me;
        PUT "/auth/password" Token auth::change_password;
        GET "/auth/sessions" Token auth::sessions;
        DELETE "/auth/sessions/{id}" Token auth::end_session;
        GET "/users" Token users::list;
        GET "/users/blocked" Token users::blocked;
        GET "/users/{id}" Token users::profile;
        PUT "/users/{id}/block" Token users::block;
        DELETE "/users/{id}/block" Token users::unblock;
        POST "/friends/request" Token friends::request;
        GET "/friends" Token friends::list;
        GET "/friends/requests" Token friends::requests;
        PUT "/friends/{friendship_id}/status" Token friends::answer;
        DELETE "/friends/{friendship_id}" Token friends::end;
        POST "/chat-rooms" Token rooms::create;
        GET "/chat-rooms" Token rooms::list;
        GET "/chat-rooms/{room_id}" Token rooms::room;
        PATCH "/chat-rooms/{room_id}" Token rooms::rename;
        GET "/chat-rooms/{room_id}/members" Token rooms::members;
        POST "/chat-rooms/{room_id}/members" Token rooms::add_members;
        DELETE "/chat-rooms/{room_id}/members/{user_id}" Token rooms::remove_member;
        PUT "/chat-rooms/{room_id}/members/{user_id}/role" Token rooms::change_role;
        PUT "/chat-rooms/{room_id}/read" Token rooms::mark_read;
        GET "/chat-rooms/{room_id}/events" Token rooms::events;
        GET "/ws/rooms/{room_id}/status" Token rooms::status;
        POST "/messages/{room_id}" Token messages::post;
        GET "/messages/{room_id}" Token messages::history;
        GET "/messages/{room_id}/{seq}" Token messages::message;
        PATCH "/messages/{room_id}/{seq}" Token messages::edit;
        DELETE "/messages/{room_id}/{seq}" Token messages::delete;
        GET "/messages/{room_id}/{seq}/reactions/{emoji}" Token messages::reactors;
        PUT "/messages/{room_id}/{seq}/reactions/{emoji}" Token messages::react;
        DELETE "/messages/{room_id}/{seq}/reactions/{emoji}" Token messages::unreact;
        GET "/healthz" Alive operations::healthz;
        GET "/readyz" Ready operations::readyz;
        GET "/openapi.json" Open operations::openapi_json;
        GET "/docs" Open operations::docs;
    };
    for path in ["/ws", "/ws/chat/{room_id}"] {
        routes.push(Route { method: Method::GET, path, target: Target::Socket });
    }
    routes
}
