//! Who may change a room, and what of it.

use crate::model::{Role, RoomKind};

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such room.
    NoRoom,
    /// The one who acts is not in it.
    NotMember,
    /// The one who acts may not do that.
    RoleTooLow,
    /// The one whom it concerns is not in it.
    TargetNotMember,
    /// A direct room's two members never change, nor has it a name.
    DirectRoom,
    /// No owner would be left while others remain.
    LastOwner,
    /// It would have too many members.
    Full,
}

/// What is known of a room when somebody acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The kind.
    pub kind: RoomKind,
    /// The role of the one who acts; `None` for one who is not in it.
    pub actor: Option<Role>,
    /// How many are in it.
    pub members: u32,
    /// How many of them are owners.
    pub owners: u32,
}

impl Facts {
    /// The actor's role, in a group.
    fn group_actor(&self) -> Result<Role, Refusal> {
        let role = self.actor.ok_or(Refusal::NotMember)?;
        match self.kind {
            RoomKind::Direct => Err(Refusal::DirectRoom),
            RoomKind::Group => Ok(role),
        }
    }

    fn at_least(&self, least: Role) -> Result<Role, Refusal> {
        let role = self.group_actor()?;
        if role >= least { Ok(role) } else { Err(Refusal::RoleTooLow) }
    }
}

/// Whether the room may be renamed: by an admin or owner.
///
/// # Errors
/// `NotMember`, `DirectRoom`, `RoleTooLow`.
pub fn rename(facts: &Facts) -> Result<(), Refusal> {
    facts.at_least(Role::Admin).map(drop)
}

/// Whether so many may be added who are not in it yet: by an admin or owner, up to `max`.
///
/// # Errors
/// `NotMember`, `DirectRoom`, `RoleTooLow`, `Full`.
pub fn add(facts: &Facts, new: u32, max: u32) -> Result<(), Refusal> {
    facts.at_least(Role::Admin)?;
    if new > 0 && facts.members.saturating_add(new) > max { Err(Refusal::Full) } else { Ok(()) }
}

/// Whether somebody may go: anybody by themselves; anybody by an owner; a plain member by an admin.
///
/// `target` is `None` for one who is not in it. Answers whether there is something to do.
///
/// # Errors
/// `NotMember`, `DirectRoom`, `RoleTooLow`, `LastOwner`.
pub fn remove(facts: &Facts, target: Option<Role>, is_self: bool) -> Result<bool, Refusal> {
    if is_self && facts.actor.is_none() {
        return Ok(false);
    }
    let actor = facts.group_actor()?;
    if !is_self && actor < Role::Admin {
        return Err(Refusal::RoleTooLow);
    }
    let Some(target) = target else { return Ok(false) };
    if !is_self && actor < Role::Owner && target > Role::Member {
        return Err(Refusal::RoleTooLow);
    }
    if target == Role::Owner && facts.owners == 1 && facts.members > 1 {
        return Err(Refusal::LastOwner);
    }
    Ok(true)
}

/// Whether somebody may get another role: from an owner, as long as one owner is left. Answers whether it is another.
///
/// # Errors
/// `NotMember`, `DirectRoom`, `RoleTooLow`, `TargetNotMember`, `LastOwner`.
pub fn change_role(facts: &Facts, target: Option<Role>, role: Role) -> Result<bool, Refusal> {
    facts.at_least(Role::Owner)?;
    let target = target.ok_or(Refusal::TargetNotMember)?;
    if target == role {
        return Ok(false);
    }
    if target == Role::Owner && facts.owners == 1 {
        return Err(Refusal::LastOwner);
    }
    Ok(true)
}
