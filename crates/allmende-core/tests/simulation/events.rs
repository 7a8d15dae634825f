//! What happens in a simulation, event by event.

use std::rc::Rc;

use super::hub::Failed;
use super::node::Behaviour;
use super::{Event, POLL_MS, Sealed, Sim};

impl Sim {
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Poll { node, id, from } => {
                if self.hub.state.is_some() {
                    let skip = usize::try_from(from).unwrap().saturating_sub(self.prefix.leaves.len());
                    let entries = self.hub.log.get(skip..).unwrap_or_default().to_vec();
                    let (size, root) = (self.hub.frontier.size(), self.hub.frontier.root());
                    self.send(Event::Log { node, id, entries, size, root });
                }
            }
            Event::Submit { node, sealed } => self.submit(node, &sealed),
            Event::Log { node, id, entries, size, root } => {
                let node = &mut self.nodes[node];
                // An answer to the last question only: older ones may have overtaken each other.
                if node.up && node.alarm.is_none() && node.poll == id {
                    node.poll += 1;
                    node.extend(&entries, size, root);
                }
            }
            Event::Acknowledge { node, digest } => {
                let node = &mut self.nodes[node];
                if node.up {
                    node.acknowledged.push(digest);
                    node.outbox.take_if(|sealed| sealed.opened.digest == digest);
                }
            }
            Event::Refuse { node, digest } => {
                let node = &mut self.nodes[node];
                if node.up {
                    node.outbox.take_if(|sealed| sealed.opened.digest == digest);
                }
            }
            Event::NodeTick(node) => self.tick(node),
            Event::NodeCrash(node) => {
                self.nodes[node].up = false;
                // What was not written yet is lost; the mirror and what it said stay.
                if self.rng.chance(30) {
                    self.nodes[node].outbox = None;
                }
                let ms = self.rng.between(100, 3_000);
                self.after(ms, Event::NodeRestart(node));
            }
            Event::NodeRestart(node) => self.nodes[node].up = !self.nodes[node].gone,
            Event::HubCrash => self.crashed(),
            Event::HubRestart => self.restart(),
            Event::HubWake => {
                self.wake = None;
                self.think();
            }
            Event::HubClock(jump) => {
                self.hub.offset_ms += jump;
                self.think();
            }
            Event::Folded { epoch, step } if epoch == self.hub.epoch => {
                self.hub.folding.retain(|s| *s != step);
                // A member may have refused meanwhile, or the run have failed: then the reducer says no.
                if let Some(Err(Failed::Refused(refusal))) = self.record(&step) {
                    assert!(
                        [
                            "run.wrong-result",
                            "run.status",
                            "run.round",
                            "run.track",
                            "run.early",
                            "agreement.not-in-force"
                        ]
                        .contains(&refusal.code()),
                        "{refusal}"
                    );
                }
                self.think();
            }
            Event::Folded { .. } => {}
            Event::Act(act) => self.act(act),
            Event::RollBack => self.roll_back(),
        }
    }

    fn submit(&mut self, node: usize, sealed: &Rc<Sealed>) {
        let digest = sealed.opened.digest;
        if self.hub.state.is_none() {
            return;
        }
        // What is in the log already is acknowledged again.
        if self.hub.index.contains_key(&digest) {
            return self.send(Event::Acknowledge { node, digest });
        }
        match self.append(sealed) {
            Ok(()) => {
                self.send(Event::Acknowledge { node, digest });
                self.think();
            }
            Err(Failed::Refused(_)) => self.send(Event::Refuse { node, digest }),
            Err(Failed::Crashed) => {}
        }
    }

    pub(super) fn append(&mut self, sealed: &Rc<Sealed>) -> Result<(), Failed> {
        let crashes = self.bad_weather();
        let (entry, result) = self.hub.append(sealed, self.now, crashes, &mut self.rng);
        if self.forked_at.is_none() {
            if let Some(entry) = &entry {
                self.oracle.observe(entry);
            }
            if let Err(Failed::Refused(refusal)) = &result {
                assert!(self.hub.state.as_ref() == Some(&self.oracle.shadow), "{refusal} left a trace");
            }
        }
        if matches!(result, Err(Failed::Crashed)) {
            self.crashed();
        }
        result
    }

    fn crashed(&mut self) {
        self.hub.crash();
        let ms = self.rng.between(20, 1_500);
        self.after(ms, Event::HubRestart);
    }

    fn restart(&mut self) {
        if self.hub.state.is_some() {
            return;
        }
        self.hub.recover(&self.prefix.state, &self.prefix.frontier);
        if self.forked_at.is_none() {
            self.oracle.check_log(&self.hub.log, self.prefix.leaves.len());
            assert!(self.hub.state.as_ref() == Some(&self.oracle.shadow), "state is what the log says");
            assert_eq!(self.hub.frontier.root(), self.oracle.frontier.root());
        }
        self.think();
    }

    /// A restore from a backup that lacks the last entries.
    fn roll_back(&mut self) {
        let len = self.hub.log.len();
        if len < 3 {
            return;
        }
        let lost = 1 + usize::try_from(self.rng.below(len as u64 - 1)).unwrap();
        let first_lost = self.hub.log[len - lost].leaf;
        self.hub.log.truncate(len - lost);
        self.forked_at = Some((self.prefix.leaves.len() + len - lost, first_lost));
        self.crashed();
    }

    fn tick(&mut self, i: usize) {
        let now = self.now;
        let node = &mut self.nodes[i];
        if matches!(node.behaviour, Behaviour::VanishesAt(at) if now >= at) {
            (node.up, node.gone) = (false, true);
            return;
        }
        self.after(POLL_MS, Event::NodeTick(i));
        let node = &mut self.nodes[i];
        if !node.up || node.alarm.is_some() {
            return;
        }
        node.poll += 1;
        let (id, from) = (node.poll, node.mirror.size());
        let sealed = match &node.outbox {
            Some(sealed) => Some(Rc::clone(sealed)),
            None => node.speak(now, &mut self.rng).map(|(sealed, lie)| {
                if lie {
                    self.oracle.lies.insert(sealed.opened.digest);
                }
                sealed
            }),
        };
        if let Some(sealed) = sealed {
            self.send(Event::Submit { node: i, sealed });
        }
        self.send(Event::Poll { node: i, id, from });
    }
}
