//! Which path leads where.

use futures::future::BoxFuture;
use http::Method;

use crate::problem::Problem;
use crate::request::{Call, Reply};

/// Answers a request.
pub(crate) type Handler = fn(Call) -> BoxFuture<'static, Reply>;

/// What a route asks for before it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing; counted neither by address nor among the answers that wait, so that nobody else's load has a process taken for dead.
    Alive,
    /// Nothing; counted by address, and not among the answers that wait.
    Ready,
    /// Nothing; counted like any other.
    Open,
    /// A good access token.
    Token,
}

/// What stands at a path under a method.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// An ordinary call.
    Rest(Access, Handler),
    /// A socket: for all rooms, or for the room in the path.
    Socket,
}

/// A method and what it leads to.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) target: Target,
}

/// A path's parameters and its routes.
type Matched<'a> = (Vec<(String, String)>, &'a [Route]);

/// All routes, by path.
pub(crate) struct Router {
    prefix: String,
    paths: matchit::Router<Vec<Route>>,
}

impl Router {
    /// # Errors
    /// When two routes are in each other's way.
    pub(crate) fn new(prefix: String, routes: Vec<Route>) -> Result<Self, matchit::InsertError> {
        let mut by_path: Vec<Vec<Route>> = Vec::new();
        for route in routes {
            match by_path.iter_mut().find(|others| others[0].path == route.path) {
                Some(others) => others.push(route),
                None => by_path.push(vec![route]),
            }
        }
        let mut paths = matchit::Router::new();
        for routes in by_path {
            paths.insert(routes[0].path, routes)?;
        }
        Ok(Self { prefix, paths })
    }

    /// Returns whether a path is asked by those who watch the process.
    pub(crate) fn is_probe(&self, path: &str) -> bool {
        matches!(path.strip_prefix(self.prefix.as_str()), Some("/healthz" | "/readyz"))
    }

    /// What stands at a path, with its parameters decoded.
    pub(crate) fn find(&self, path: &str) -> Result<Matched<'_>, Problem> {
        let path = path.strip_prefix(self.prefix.as_str()).ok_or_else(Problem::no_route)?;
        let found = self.paths.at(path).map_err(|_| Problem::no_route())?;
        let params = found.params.iter().map(|(name, value)| {
            let value = percent_encoding::percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| Problem::malformed(format!("{name} in the path is not UTF-8")))?;
            Ok((name.to_owned(), value.into_owned()))
        });
        Ok((params.collect::<Result<_, Problem>>()?, found.value))
    }
}

impl Target {
    /// The route of that method.
    ///
    /// # Errors
    /// 405 with the methods that there are.
    pub(crate) fn choose<'a>(routes: &'a [Route], method: &Method) -> Result<&'a Route, Problem> {
        routes.iter().find(|route| route.method == *method).ok_or_else(|| {
            let mut allow: Vec<Method> = routes.iter().map(|route| route.method.clone()).collect();
            allow.push(Method::OPTIONS);
            Problem::method_not_allowed(&allow)
        })
    }
}
