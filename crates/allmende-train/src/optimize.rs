//! Local optimizers: how a gradient changes a parameter. Each is a variant of [`Optimizer`] and a rule here.
//!
//! Written out rather than taken from a library, so that what a signed plan means by `adam` cannot change under it.

use allmende_core::run::plan::Optimizer;
use burn_tensor::Tensor;

/// Adam's β₁.
pub const ADAM_BETA1: f64 = 0.9;
/// Adam's β₂.
pub const ADAM_BETA2: f64 = 0.999;
/// Adam's ε.
pub const ADAM_EPSILON: f64 = 1e-8;

/// An optimizer and what it remembers of each parameter.
#[derive(Debug)]
pub struct Stepper {
    rule: Rule,
    memory: Vec<Option<Memory>>,
    /// β₁ᵗ and β₂ᵗ for Adam's correction of the first steps.
    decay: (f64, f64),
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    Sgd { rate: f64 },
    Momentum { rate: f64, momentum: f64 },
    Adam { rate: f64 },
}

#[derive(Debug)]
struct Memory {
    first: Tensor<2>,
    second: Option<Tensor<2>>,
}

impl Stepper {
    /// An optimizer without a past.
    #[must_use]
    pub fn new(optimizer: &Optimizer) -> Self {
        let rule = match optimizer {
            Optimizer::Sgd { rate } => Rule::Sgd { rate: rate.to_f64() },
            Optimizer::Momentum { rate, momentum } => {
                Rule::Momentum { rate: rate.to_f64(), momentum: momentum.to_f64() }
            }
            Optimizer::Adam { rate } => Rule::Adam { rate: rate.to_f64() },
        };
        Self { rule, memory: Vec::new(), decay: (1.0, 1.0) }
    }

    /// Begins a step; every parameter changes once in it.
    pub fn begin_step(&mut self) {
        self.decay = (self.decay.0 * ADAM_BETA1, self.decay.1 * ADAM_BETA2);
    }

    /// The new value of parameter number `index`.
    ///
    /// - SGD: `p − rate·g`
    /// - momentum: `v ← μ·v + g`, `p − rate·v`
    /// - Adam: `m ← β₁m + (1−β₁)g`, `s ← β₂s + (1−β₂)g²`, `p − rate·m̂/(√ŝ + ε)`
    pub fn change(&mut self, index: usize, parameter: Tensor<2>, gradient: Tensor<2>) -> Tensor<2> {
        if self.memory.len() <= index {
            self.memory.resize_with(index + 1, || None);
        }
        let past = self.memory[index].take();
        match self.rule {
            Rule::Sgd { rate } => parameter - gradient * rate,
            Rule::Momentum { rate, momentum } => {
                let velocity = match past {
                    Some(past) => past.first * momentum + gradient,
                    None => gradient,
                };
                self.memory[index] = Some(Memory { first: velocity.clone(), second: None });
                parameter - velocity * rate
            }
            Rule::Adam { rate } => {
                let mut first = gradient.clone() * (1.0 - ADAM_BETA1);
                let mut second = gradient.clone() * gradient * (1.0 - ADAM_BETA2);
                if let Some(Memory { first: m, second: Some(s) }) = past {
                    first = m * ADAM_BETA1 + first;
                    second = s * ADAM_BETA2 + second;
                }
                self.memory[index] = Some(Memory { first: first.clone(), second: Some(second.clone()) });
                let (m, s) = (first / (1.0 - self.decay.0), second / (1.0 - self.decay.1));
                parameter - m / (s.sqrt() + ADAM_EPSILON) * rate
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::network::{device, matrix, values};

    /// Two steps from 1.0 with gradients 0.5 and then −0.25.
    fn two_steps(optimizer: &Optimizer) -> f32 {
        let mut stepper = Stepper::new(optimizer);
        let one = |x| matrix(vec![x], 1, 1, &device());
        let mut parameter = one(1.0);
        for gradient in [0.5, -0.25] {
            stepper.begin_step();
            parameter = stepper.change(0, parameter, one(gradient));
        }
        values(parameter).unwrap()[0]
    }

    #[test]
    fn by_hand() {
        let d = |text: &str| text.parse().unwrap();
        let near = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-6, "{a} {b}");
        near(two_steps(&Optimizer::Sgd { rate: d("0.1") }), 1.0 - 0.05 + 0.025);
        let momentum = Optimizer::Momentum { rate: d("0.1"), momentum: d("0.9") };
        near(two_steps(&momentum), 1.0 - 0.05 - 0.1 * (0.9 * 0.5 - 0.25));
        let m = (0.9 * 0.05 - 0.025) / (1.0 - 0.81);
        let s = (0.999 * 0.001 * 0.25 + 0.001 * 0.0625) / (1.0 - 0.999 * 0.999_f64);
        near(two_steps(&Optimizer::Adam { rate: d("0.1") }), 1.0 - 0.1 - 0.1 * m / s.sqrt());
    }
}
