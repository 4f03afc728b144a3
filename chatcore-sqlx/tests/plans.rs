//! Every statement that the stores send walks an index: none scans a table, none sorts what an index has in order.
//!
//! The statements are those that the driver logs while every method of the stores is called, not copies of them.
#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chatcore::id::UserId;
use chatcore::model::{Draft, LogRange, MessageRange, PageKey, Role, SearchKey};
use chatcore::store::{FriendshipList, MarkerWrite, ProfileChange, Removal, Rotation, SearchPosition, Storage};
use chatcore::testing::fixtures::*;
use tracing_subscriber::layer::SubscriberExt as _;

/// Collects the statements that the driver logs.
#[derive(Clone, Default)]
struct Statements(Arc<Mutex<BTreeSet<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Statements {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().target() != "sqlx::query" {
            return;
        }
        let mut statement = Statement::default();
        event.record(&mut statement);
        let text = if statement.whole.trim().is_empty() { statement.summary } else { statement.whole };
        self.0.lock().unwrap().insert(text.trim().to_owned());
    }
}

#[derive(Default)]
struct Statement {
    summary: String,
    whole: String,
}

impl tracing::field::Visit for Statement {
    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.whole),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
}

/// Calls every method of every store.
async fn tour(storage: &Storage) {
    let users: Vec<UserId> = (1..4).map(user_id).collect();
    let (ada, bob, eve) = (users[0], users[1], users[2]);
    for n in 1..4 {
        storage.users.create(&new_user(n)).await.unwrap().unwrap();
    }
    let new = new_user(1);
    storage.users.users(&users).await.unwrap();
    storage.users.credentials_by_username(&new.username).await.unwrap();
    storage.users.credentials_by_email(&new.email).await.unwrap();
    storage.users.credentials(ada).await.unwrap();
    let change = ProfileChange { display_name: Some(display_name("Ada L")), email: Some(email("ada.l@example.org")) };
    storage.users.update_profile(ada, &change).await.unwrap().unwrap().unwrap();
    storage.users.replace_password(ada, &new.password, &password(9)).await.unwrap();
    storage.users.touch_seen(&[(ada, at(5))]).await.unwrap();
    let prefix = SearchKey::parse("us").unwrap();
    storage.users.search(&prefix, None, 5).await.unwrap();
    let after = SearchPosition::DisplayName(display_name("a").search_key(), ada);
    storage.users.search(&prefix, Some(&after), 5).await.unwrap();

    let login = session(1, ada);
    storage.sessions.create(&login, &token(1)).await.unwrap();
    storage.sessions.create(&session(2, ada), &token(5)).await.unwrap();
    let rotation = |presented, next| Rotation {
        session: login.id,
        presented: token(presented),
        next: token(next),
        at: at(2),
        expires_at: at(900),
        grace: Duration::from_secs(30),
    };
    storage.sessions.rotate(&rotation(1, 2)).await.unwrap();
    storage.sessions.alive(&[login.id], at(1)).await.unwrap();
    storage.sessions.list(ada, at(1), Some(PageKey { at: at(9), id: login.id.uuid() }), 5).await.unwrap();
    storage.sessions.end_others(ada, login.id).await.unwrap();
    storage.sessions.rotate(&rotation(77, 78)).await.unwrap();
    storage.sessions.end(ada, login.id).await.unwrap();
    storage.sessions.create(&session(3, ada), &token(7)).await.unwrap();
    storage.sessions.purge(at(100_000_000), 5).await.unwrap();

    let friendships = &storage.friendships;
    friendships.request(&request(1, ada, bob)).await.unwrap();
    friendships.answer(friendship_id(1), bob, true, at(3)).await.unwrap();
    for list in [FriendshipList::Friends, FriendshipList::Incoming, FriendshipList::Outgoing] {
        friendships.list(ada, list, None, 5).await.unwrap();
    }
    friendships.friend_ids(ada).await.unwrap();
    friendships.relation(ada, bob).await.unwrap();
    friendships.end(friendship_id(1), ada).await.unwrap();
    friendships.block(ada, eve, at(4)).await.unwrap();
    friendships.blocked(ada, None, 5).await.unwrap();
    friendships.blockers_among(eve, &users).await.unwrap();
    friendships.blocked_among(ada, &users).await.unwrap();
    friendships.unblock(ada, eve).await.unwrap();

    let (room, pair) = (room_id(1), room_id(2));
    storage.rooms.create(&group(1, &[ada, bob])).await.unwrap();
    storage.rooms.create(&direct(2, ada, bob)).await.unwrap();
    storage.rooms.direct(ada, bob).await.unwrap();
    storage.rooms.standings(&[(room, ada), (pair, bob), (room, eve)]).await.unwrap();
    storage.rooms.memberships(ada).await.unwrap();
    storage.rooms.rooms_of(&users).await.unwrap();
    storage.rooms.members(room, Some(PageKey { at: at(0), id: ada.uuid() }), 5).await.unwrap();
    storage.rooms.member_ids(room).await.unwrap();
    storage.rooms.add(room, ada, &[new_member(eve, Role::Member, 50)], 10, at(5)).await.unwrap();
    storage.rooms.rename(room, ada, &room_name("x"), intent_id(51), at(5)).await.unwrap();
    let role =
        chatcore::store::RoleChange { room, by: ada, user: eve, role: Role::Admin, intent: intent_id(52), at: at(6) };
    storage.rooms.change_role(&role).await.unwrap();
    storage.rooms.mark_read(&[MarkerWrite { room, user: ada, seq: seq(1) }]).await.unwrap();
    let intents = storage.rooms.intents(room).await.unwrap();
    storage.rooms.unsettled(at(1000), 5).await.unwrap();
    storage.rooms.settle(&intents.iter().map(|intent| (intent.id, seq(1))).collect::<Vec<_>>()).await.unwrap();
    let removal = Removal { room, by: ada, user: eve, intent: intent_id(53), at: at(7) };
    storage.rooms.remove(&removal).await.unwrap();

    let append = async |drafts: &[Draft]| storage.messages.append(drafts, 20).await.unwrap();
    append(&[post(room, ada, "1", "one"), post(room, bob, "2", "two")]).await;
    append(&[post(room, ada, "1", "one again"), post(pair, ada, "1", "one")]).await;
    append(&[reply(room, ada, "3", "three", seq(1)), edit(room, ada, "4", seq(1), "uno")]).await;
    append(&[
        react(room, bob, "5", seq(1), "x"),
        unreact(room, bob, "6", seq(1), "x"),
        react(room, bob, "7", seq(1), "y"),
    ])
    .await;
    append(&[rename(room, ada, "8", "x")]).await;
    for range in [LogRange::After(1), LogRange::Before(seq(3))] {
        storage.messages.events(room, range, 5).await.unwrap();
    }
    storage.messages.heads(&[room, pair]).await.unwrap();
    for range in
        [MessageRange::Newest, MessageRange::Before(seq(3)), MessageRange::After(1), MessageRange::Around(seq(2))]
    {
        storage.messages.messages(ada, room, range, 5).await.unwrap();
    }
    storage.messages.messages_at(ada, room, &[seq(1), seq(2)]).await.unwrap();
    storage.messages.reactors(room, seq(1), &emoji("y"), 0, 5).await.unwrap();
    storage.messages.digests(bob, &[(room, 1), (pair, 0)], 1000).await.unwrap();
    storage.messages.last_posts(room, &users).await.unwrap();
    append(&[delete(room, ada, "9", seq(1))]).await;
}

/// What a statement is explained for: one table of ours or more, no definition, no value.
fn explainable(statements: &Statements) -> Vec<String> {
    let all = statements.0.lock().unwrap();
    let ours = |text: &&String| {
        let text = text.as_str();
        text.contains("chat_")
            && !text.contains("chat_migrations")
            && ["SELECT", "UPDATE", "DELETE"]
                .iter()
                .any(|verb| text.trim_start_matches("BEGIN IMMEDIATE; ").starts_with(verb))
    };
    all.iter().filter(ours).map(|text| text.trim_start_matches("BEGIN IMMEDIATE; ").to_owned()).collect()
}

/// One test, because the process has one place where the driver logs to.
#[tokio::test]
async fn every_statement_walks_an_index() {
    let statements = Statements::default();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(statements.clone())).unwrap();
    sqlite_walks_indexes(&statements).await;
    #[cfg(all(feature = "mysql", feature = "testing"))]
    for variable in ["CHATCORE_TEST_MARIADB", "CHATCORE_TEST_MYSQL"] {
        statements.0.lock().unwrap().clear();
        on_servers::walks_indexes(variable, &statements).await;
    }
}

async fn sqlite_walks_indexes(statements: &Statements) {
    use chatcore_sqlx::{SqliteOptions, SqliteStore};
    use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
    use sqlx::{AssertSqlSafe, Row as _};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let store = SqliteStore::open(&SqliteOptions::file(&path)).await.unwrap();
    tour(&store.storage()).await;
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(path)).await.unwrap();
    let found = explainable(statements);
    assert!(found.len() > 50, "{found:#?}");
    for sql in found {
        // Several that go together are explained one by one.
        for sql in sql.split("; ").filter(|sql| !sql.starts_with("INSERT") && *sql != "COMMIT") {
            let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(&pool).await.unwrap();
            let steps: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
            // What a statement has made itself is short.
            let tables = ["chat_", "m ", "r ", "h ", "c ", "o ", "p "];
            let scan = steps
                .iter()
                .find(|step| tables.iter().any(|table| format!("{step} ").starts_with(&format!("SCAN {table}"))));
            assert_eq!(scan, None, "{sql}: {steps:#?}");
            // The reactions of a page are sorted after they are counted; the rooms that are unsettled, made distinct.
            let sorts = steps.iter().any(|step| step.contains("TEMP B-TREE"));
            assert!(!sorts || sql.contains("chat_reactions") || sql.contains("DISTINCT"), "{sql}: {steps:#?}");
        }
    }
}

#[cfg(all(feature = "mysql", feature = "testing"))]
mod on_servers {
    use chatcore::model::EventKind;
    use chatcore_sqlx::testing::TemporaryDatabase;
    use sqlx::mysql::MySqlPool;
    use sqlx::{AssertSqlSafe, Row as _};

    use super::*;

    /// Enough of everything that no plan scans because there is nothing to walk.
    async fn fill(storage: &Storage) {
        for n in 10..200 {
            storage.users.create(&new_user(n)).await.unwrap().unwrap();
            storage.sessions.create(&session(n, user_id(n.into())), &token(n.into())).await.unwrap();
            storage.friendships.request(&request(n, user_id(n.into()), user_id(u64::from(n) + 1))).await.unwrap();
            storage.friendships.block(user_id(u64::from(n) + 500), user_id(n.into()), at(n)).await.unwrap();
            storage.rooms.create(&group(n, &[user_id(n.into()), user_id(u64::from(n) + 1)])).await.unwrap();
        }
        for n in 10..50 {
            let room = room_id(n);
            let mut drafts: Vec<Draft> = (0..200).map(|n| post(room, user_id(n % 7), &n.to_string(), "text")).collect();
            drafts.extend((0..50).map(|n| react(room, user_id(n % 7), &format!("r{n}"), seq(1 + n), "x")));
            drafts.extend((0..20).map(|n| edit(room, user_id(n % 7), &format!("e{n}"), seq(1 + n), "edited")));
            assert!(matches!(drafts[0].kind, EventKind::Posted(_)));
            storage.messages.append(&drafts, 20).await.unwrap();
        }
    }

    const ID: &str = "x'01920000000070008000000000000001'";

    /// A statement with a value where each parameter stood, of the type that its column has.
    fn with_values(sql: &str) -> String {
        let mut parts = sql.split('?');
        let mut out = parts.next().unwrap().to_owned();
        for part in parts {
            let before = out.to_ascii_lowercase();
            let words: Vec<&str> = before
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .filter(|word| !word.is_empty())
                .collect();
            // The last word that names a column: a list of values stands after its column.
            let column = words
                .iter()
                .rev()
                .find(|word| word.chars().any(char::is_alphabetic) && !matches!(**word, "in" | "x" | "limit" | "text"))
                .copied()
                .unwrap_or("");
            let value = match column {
                _ if before.trim_end().ends_with("limit") => "50",
                "pair" => "x'0192000000007000800000000000000101920000000070008000000000000002'",
                "username" | "email_key" | "email" | "display_key" | "display_name" | "dedup" | "emoji"
                | "client_id" | "body" | "name" | "password" => "'text'",
                "owner" | "sender" | "blocker" | "blocked" | "low" | "high" | "requester" | "addressee"
                | "joined_by" | "created_by" => ID,
                _ if column.ends_with("id") => ID,
                _ => "5",
            };
            out.push_str(value);
            out.push_str(part);
        }
        out
    }

    pub(super) async fn walks_indexes(variable: &str, statements: &Statements) {
        let Ok(url) = std::env::var(variable) else {
            #[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
            {
                eprintln!("{variable} is not set: not tested");
            }
            return;
        };
        let database = TemporaryDatabase::create(&url).await.unwrap();
        let store = database.store().await.unwrap();
        tour(&store.storage()).await;
        let found = explainable(statements);
        assert!(found.len() > 50, "{found:#?}");
        fill(&store.storage()).await;
        let pool = MySqlPool::connect_with(database.connect_options()).await.unwrap();
        let tables: Vec<String> = sqlx::query_scalar("SHOW TABLES").fetch_all(&pool).await.unwrap();
        for table in tables {
            sqlx::raw_sql(AssertSqlSafe(format!("ANALYZE TABLE {table}"))).execute(&pool).await.unwrap();
        }
        let mut wrong = Vec::new();
        for sql in found {
            let explained = with_values(&sql);
            let plan = sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN FORMAT=TRADITIONAL {explained}")))
                .fetch_all(&pool)
                .await
                .unwrap_or_else(|error| panic!("{explained}: {error}"));
            for row in plan {
                let column = |name: &str| row.try_get::<Option<String>, _>(name).unwrap().unwrap_or_default();
                let (table, kind, extra) = (column("table"), column("type"), column("Extra"));
                // What a statement has made itself is short, and stands in angle brackets.
                let scans = (kind == "ALL" || kind == "index") && !table.starts_with('<') && !table.is_empty();
                let sorts = extra.contains("filesort") && !sql.contains("chat_reactions");
                if scans || sorts {
                    wrong.push(format!("{table} {kind} {} {extra}: {sql}", column("key")));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
