//! Repositories: real git underneath, and the API above.

mod git;
mod hub;
