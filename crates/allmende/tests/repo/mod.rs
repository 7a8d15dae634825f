//! Repositories: real git underneath, and the API above.

mod gate;
mod git;
mod hub;
