//! Crashes of real processes: a hub and nodes that die at chosen and at random instants, disks that fill up.

mod collecting;
mod disk;
mod doors;
mod faults;
mod gone;
mod healed;
mod kills;
mod many;
mod outside;
pub mod process;
mod replicas;
mod restored;
pub mod world;
