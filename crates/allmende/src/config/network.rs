//! The setting that names networks.

use std::net::IpAddr;

use super::Value;

/// Most networks of one setting.
const MAX_NETWORKS: usize = 64;

/// A network: all addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not ADDRESS/BITS, such as 10.1.0.0/16");
        let (address, bits) = text.trim().split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits: u32 = bits.parse().map_err(|_| wrong())?;
        if bits > if address.is_ipv4() { 32 } else { 128 } {
            return Err(wrong());
        }
        let network = Self { address, bits };
        let rest = match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits().checked_shl(bits).unwrap_or(0)),
            IpAddr::V6(v6) => v6.to_bits().checked_shl(bits).unwrap_or(0),
        };
        if rest != 0 {
            return Err(format!("{text:?} has bits set behind its first {bits}"));
        }
        Ok(network)
    }

    fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Several networks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// Whether one of them holds `address`.
    #[must_use]
    pub fn hold(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.holds(address))
    }
}

impl Value for Networks {
    const KIND: &'static str = "ADDRESS/BITS, …";

    fn parse(text: &str) -> Result<Self, String> {
        let items = text.split(',').filter(|item| !item.trim().is_empty());
        let networks: Vec<Network> = items.map(Network::parse).collect::<Result<_, _>>()?;
        if networks.len() > MAX_NETWORKS {
            return Err(format!("at most {MAX_NETWORKS} networks"));
        }
        Ok(Self(networks))
    }

    fn render(&self) -> String {
        self.0.iter().map(|network| format!("{}/{}", network.address, network.bits)).collect::<Vec<_>>().join(", ")
    }
}
