//! Repositories: real git underneath.

mod git;
