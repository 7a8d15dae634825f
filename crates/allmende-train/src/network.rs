//! The forward pass of a model on burn's CPU backend, with gradients where they are wanted.

use burn_tensor::activation::{log_softmax, relu};
use burn_tensor::{Device, Tensor, TensorData};

use crate::model::{LayerPlace, Model, places};

/// The backend could not give a tensor back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the compute backend failed: {0}")]
pub struct BackendError(String);

/// The device that trains: burn's pure-Rust CPU backend. Another device has its place here.
pub(crate) fn device() -> Device {
    Device::flex()
}

/// Dense layers; the bias is a row, so that every parameter is a matrix.
pub(crate) struct Network {
    layers: Vec<Layer>,
}

#[derive(Clone)]
struct Layer {
    weight: Tensor<2>,
    bias: Tensor<2>,
}

/// Rows as a tensor.
pub(crate) fn matrix(values: Vec<f32>, rows: usize, columns: usize, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

/// The values of a tensor.
pub(crate) fn values(tensor: Tensor<2>) -> Result<Vec<f32>, BackendError> {
    let data = tensor.try_into_data().map_err(|e| BackendError(format!("{e:?}")))?;
    Ok(data.as_slice::<f32>().map_err(|e| BackendError(format!("{e:?}")))?.to_vec())
}

impl Network {
    pub(crate) fn of(model: &Model, device: &Device) -> Self {
        let all = model.values();
        let layer = |place: &LayerPlace| {
            let LayerPlace { fan_in, fan_out, weight, bias } = *place;
            Layer {
                weight: matrix(all[weight..weight + fan_in * fan_out].to_vec(), fan_in, fan_out, device),
                bias: matrix(all[bias..bias + fan_out].to_vec(), 1, fan_out, device),
            }
        };
        Self { layers: places(model.spec()).iter().map(layer).collect() }
    }

    /// The parameters in the order of the model file.
    pub(crate) fn into_values(self, model: &Model) -> Result<Vec<f32>, BackendError> {
        let mut all = model.values().to_vec();
        for (layer, place) in self.layers.into_iter().zip(places(model.spec())) {
            let LayerPlace { fan_in, fan_out, weight, bias } = place;
            all[weight..weight + fan_in * fan_out].copy_from_slice(&values(layer.weight)?);
            all[bias..bias + fan_out].copy_from_slice(&values(layer.bias)?);
        }
        Ok(all)
    }

    /// Logarithms of the classes' probabilities.
    pub(crate) fn log_probabilities(&self, rows: Tensor<2>) -> Tensor<2> {
        let mut x = rows;
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                x = relu(x);
            }
            x = x.matmul(layer.weight.clone()) + layer.bias.clone();
        }
        log_softmax(x, 1)
    }

    /// The mean cross-entropy of a batch, and its gradient for every parameter: weight and bias of each layer in turn.
    ///
    /// `targets` holds one 1 per row, at the row's class.
    pub(crate) fn gradients(&self, rows: Tensor<2>, targets: Tensor<2>) -> Result<(f64, Vec<Tensor<2>>), BackendError> {
        let track = |t: &Tensor<2>| t.clone().autodiff().require_grad();
        let tracked = Self {
            layers: self.layers.iter().map(|l| Layer { weight: track(&l.weight), bias: track(&l.bias) }).collect(),
        };
        let count = rows.dims()[0] as f32;
        let loss = (tracked.log_probabilities(rows) * targets).sum().neg() / count;
        let mut found = loss.backward();
        let mut gradients = Vec::with_capacity(2 * tracked.layers.len());
        for parameter in tracked.layers.iter().flat_map(|l| [&l.weight, &l.bias]) {
            let missing = || BackendError("a parameter has no gradient".to_owned());
            gradients.push(parameter.grad_remove(&mut found).ok_or_else(missing)?);
        }
        let loss: f32 = loss.inner().try_into_scalar().map_err(|e| BackendError(format!("{e:?}")))?;
        Ok((f64::from(loss), gradients))
    }

    /// Replaces every parameter by `change(index, parameter, gradient)`.
    pub(crate) fn update(
        &mut self,
        gradients: Vec<Tensor<2>>,
        mut change: impl FnMut(usize, Tensor<2>, Tensor<2>) -> Tensor<2>,
    ) {
        let parameters = self.layers.iter_mut().flat_map(|l| [&mut l.weight, &mut l.bias]);
        for (i, (parameter, gradient)) in parameters.zip(gradients).enumerate() {
            *parameter = change(i, parameter.clone(), gradient);
        }
    }
}
