//! How many connections are open, in all and of one address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts open connections. One address gets at most half of the places, so that no single client,
/// whatever it does, keeps all others out.
pub(super) struct Crowd {
    most: usize,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All places are taken.
    Total,
    /// The address has its share.
    Address,
}

/// A place, until it is dropped.
pub(super) struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Crowd {
    /// Places for `most` connections.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            inside: Mutex::default(),
        })
    }

    /// Gives a place to a connection from an address.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let address = subscriber(address);
        let mut inside = self.inside();
        if inside.all >= self.most {
            return Err(Full::Total);
        }
        let own = inside.by_address.entry(address).or_default();
        if *own >= self.most.div_ceil(2) {
            return Err(Full::Address);
        }
        *own += 1;
        inside.all += 1;
        Ok(Place {
            crowd: Arc::clone(self),
            address,
        })
    }

    /// Nothing panics while it holds the lock.
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.crowd.inside();
        inside.all -= 1;
        if let Some(own) = inside.by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                inside.by_address.remove(&self.address);
            }
        }
    }
}

/// What one client has of addresses: of IPv6 a network of 64 bits, since every host may choose freely
/// within its own.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
        address => address,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_gets_half_and_all_together_the_whole() {
        let crowd = Crowd::new(3);
        let one = address("192.0.2.1");
        let held = [
            crowd.admit(one).ok().unwrap(),
            crowd.admit(one).ok().unwrap(),
        ];
        assert_eq!(crowd.admit(one).err(), Some(Full::Address));
        let other = crowd.admit(address("192.0.2.2")).ok().unwrap();
        let third = address("192.0.2.3");
        assert_eq!(crowd.admit(third).err(), Some(Full::Total));
        drop(held);
        assert!(crowd.admit(third).is_ok());
        drop(other);
        let inside = crowd.inside();
        assert_eq!((inside.all, inside.by_address.len()), (0, 0));
    }

    #[test]
    fn a_network_of_ipv6_and_a_mapped_address_count_as_one_client() {
        let one = subscriber(address("2001:db8::1"));
        assert_eq!(subscriber(address("2001:db8::ffff:1")), one);
        assert_ne!(subscriber(address("2001:db8:0:1::1")), one);
        let plain = address("192.0.2.1");
        assert_eq!(subscriber(address("::ffff:192.0.2.1")), plain);
    }
}
