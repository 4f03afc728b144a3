//! Ended sessions, by a logout or by a new password: promise 5.

use std::collections::HashMap;

use super::{Checker, SocketInfo};
use crate::history::{Call, Node, What};

/// How long a socket of an ended session may be seen to live: its client may not read for 4 s, its server be stopped for 4 s.
const LINGERS: u64 = 20_000_000;

/// When a session had ended, and at which node that was acknowledged.
type Ended = (usize, Node);

impl Checker<'_> {
    /// All sessions whose end was acknowledged.
    fn ended_sessions(&self) -> HashMap<usize, Ended> {
        let mut ended: HashMap<usize, Ended> = HashMap::new();
        for op in &self.ops {
            let Some(returned) = op.returned.filter(|_| op.done().is_some()) else { continue };
            match op.call {
                Call::Logout => _ = ended.entry(op.session).or_insert((returned, op.node)),
                // All that were begun, by whichever password, but for the one that it was changed in.
                Call::ChangePassword { .. } => {
                    let others = self.ops.iter().filter(|login| {
                        login.user == op.user
                            && matches!(login.call, Call::Login { .. })
                            && login.session != op.session
                            && login.called < returned
                    });
                    for login in others {
                        ended.entry(login.session).or_insert((returned, op.node));
                    }
                }
                _ => {}
            }
        }
        ended
    }

    /// A password that was replaced lets nobody in.
    pub(super) fn old_passwords_let_nobody_in(&mut self) {
        let mut wrong = Vec::new();
        for change in &self.ops {
            let Call::ChangePassword { to } = change.call else { continue };
            let Some(returned) = change.returned.filter(|_| change.done().is_some()) else { continue };
            for login in self.ops.iter().filter(|op| op.user == change.user && op.done().is_some()) {
                let Call::Login { password } = login.call else { continue };
                if password < to && self.record.at(login.called) > self.record.at(returned) {
                    wrong.push([change.entries(), login.entries()].concat());
                }
            }
        }
        for entries in wrong {
            self.found("out is out", "a password that was replaced lets somebody in".to_owned(), entries, Vec::new());
        }
    }

    /// Promise 5 of sessions.
    pub(super) fn ended_sessions_are_silent(&mut self) {
        let record = self.record;
        let ended = self.ended_sessions();
        for (index, entry) in record.entries.iter().enumerate() {
            let What::Got { socket, room, seq, key: Some(key), .. } = &entry.what else { continue };
            let Some(info) = self.sockets.get(socket) else { continue };
            let Some((returned, node)) = ended.get(&info.session).copied() else { continue };
            let Some(sent) = self.keys.get(&(*room, key.as_str())).copied() else { continue };
            if record.at(sent) > self.holds(returned, node, info.node) {
                let what = format!("socket {socket} gets what was sent after its session had ended");
                self.found("out is out", what, vec![info.opened, returned, sent, index], vec![(*room, *seq)]);
            }
        }
        let lived = |info: &SocketInfo, (returned, _): (usize, Node)| {
            let end = info.ended.map_or(u64::MAX, |ended| record.at(ended));
            end > record.at(returned) + LINGERS
        };
        let lingering: Vec<_> = self
            .sockets
            .iter()
            .filter_map(|(socket, info)| Some((*socket, info, *ended.get(&info.session)?)))
            .filter(|(_, info, ended)| lived(info, *ended))
            .map(|(socket, info, ended)| (socket, [Some(info.opened), Some(ended.0), info.ended]))
            .collect();
        for (socket, entries) in lingering {
            let what = format!("socket {socket} lives on after its session");
            self.found("out is out", what, entries.into_iter().flatten().collect(), Vec::new());
        }
        let mut used = Vec::new();
        for op in self.ops.iter().filter(|op| *op.call == Call::Me && op.done().is_some()) {
            let Some((returned, node)) = ended.get(&op.session).copied() else { continue };
            if record.at(op.called) > self.holds(returned, node, op.node) {
                used.push([vec![returned], op.entries()].concat());
            }
        }
        for entries in used {
            self.found("out is out", "a token is good after its session".into(), entries, Vec::new());
        }
    }
}
