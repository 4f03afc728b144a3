//! What holds for every input: of the newtypes that text becomes, and of the business rules.

mod friendships;
mod rooms;
mod text;
