//! The network of a testnet. With network namespaces every validator has two addresses: one on a bridge over which only
//! validators speak with each other, and one over which this machine reaches it. A partition puts the validators' first
//! links on bridges of their own, so it cuts exactly what lies between validators and nobody's view of them.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{NetError, Result},
    process::run,
};

/// The most validators that an address plan holds.
pub(crate) const MOST: usize = 60;

/// Where the ports are in a namespace, which has them all to itself.
const P2P_PORT: u16 = 26656;
/// The same for the engine's RPC.
const RPC_PORT: u16 = 26657;

/// A testnet's namespaces: one for the bridges, one per validator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    /// What the names of its namespaces and links begin with.
    name: String,
    /// The third byte of its addresses.
    subnet: u8,
    /// How many validators.
    size: usize,
}

impl Network {
    /// Makes namespaces, links and bridges.
    ///
    /// # Errors
    /// `NotPermitted` when this machine or user does not allow it; nothing is left of the attempt then.
    pub(crate) fn make(mark: &str, size: usize) -> Result<Self> {
        let name = format!("vs{}", &mark[..6]);
        let network = Self { name, subnet: free_subnet()?, size };
        network.lay().map_err(|e| {
            network.remove();
            NetError::NotPermitted(format!("network namespaces cannot be made here: {e}"))
        })?;
        Ok(network)
    }

    fn lay(&self) -> Result<()> {
        let hub = self.hub();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "add", "reach", "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "reach", "up"])?;
        // This machine's own link to the validators; it goes with the namespace that its other end is in.
        ip(&["link", "add", &self.name, "type", "veth", "peer", "name", "machine", "netns", &hub])?;
        ip(&["-n", &hub, "link", "set", "machine", "master", "reach", "up"])?;
        ip(&["address", "add", &format!("{}/25", self.address(1)), "dev", &self.name])?;
        ip(&["link", "set", &self.name, "up"])?;
        for node in 0..self.size {
            self.lay_node(node)?;
        }
        self.group(&[(0..self.size).collect()])
    }

    fn lay_node(&self, node: usize) -> Result<()> {
        let (hub, space) = (self.hub(), self.namespace(node));
        ip(&["netns", "add", &space])?;
        ip(&["-n", &space, "link", "set", "lo", "up"])?;
        let links = [("peers", "peers", self.p2p(node)), ("reach", "reach-", self.rpc(node))];
        for (inside, outside, address) in links {
            let outside = format!("{outside}{node}");
            ip(&["-n", &hub, "link", "add", &outside, "type", "veth", "peer", "name", inside, "netns", &space])?;
            ip(&["-n", &space, "address", "add", &format!("{address}/25"), "dev", inside])?;
            ip(&["-n", &space, "link", "set", inside, "up"])?;
            ip(&["-n", &hub, "link", "set", &outside, "up"])?;
        }
        ip(&["-n", &hub, "link", "set", &format!("reach-{node}"), "master", "reach"])?;
        Ok(())
    }

    /// Puts each group of validators on a bridge of its own.
    ///
    /// # Errors
    /// `Usage` when a validator is in no group or in two, `Io` when the links cannot be moved.
    pub(crate) fn group(&self, groups: &[Vec<usize>]) -> Result<()> {
        each_once(groups, self.size)?;
        let hub = self.hub();
        for (number, group) in groups.iter().enumerate() {
            let bridge = format!("group{number}");
            if ip(&["-n", &hub, "link", "show", &bridge]).is_err() {
                ip(&["-n", &hub, "link", "add", &bridge, "type", "bridge"])?;
                ip(&["-n", &hub, "link", "set", &bridge, "up"])?;
            }
            for node in group {
                ip(&["-n", &hub, "link", "set", &format!("peers{node}"), "master", &bridge])?;
            }
        }
        Ok(())
    }

    /// Takes everything away that is there, in whatever state it is.
    pub(crate) fn remove(&self) {
        for space in (0..self.size).map(|node| self.namespace(node)).chain([self.hub()]) {
            // Fails when it is not there, which is what is wanted.
            drop(ip(&["netns", "delete", &space]));
        }
        // Goes with the hub unless it never got there.
        drop(ip(&["link", "delete", &self.name]));
    }

    /// What of it is there.
    pub(crate) fn remains(&self) -> Vec<String> {
        let spaces = ip(&["netns", "list"]).unwrap_or_default();
        let ours: BTreeSet<String> = (0..self.size).map(|node| self.namespace(node)).chain([self.hub()]).collect();
        let names = spaces.lines().filter_map(|line| line.split_whitespace().next());
        names.filter(|name| ours.contains(*name)).map(str::to_owned).collect()
    }

    /// A command that runs a program where a validator is; the process keeps its id.
    pub(crate) fn inside(&self, node: usize, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(node)]).arg(program);
        command
    }

    /// Where other validators find it, and where this machine does.
    pub(crate) fn places(&self, node: usize) -> (SocketAddr, SocketAddr) {
        (SocketAddr::from((self.p2p(node), P2P_PORT)), SocketAddr::from((self.rpc(node), RPC_PORT)))
    }

    fn p2p(&self, node: usize) -> Ipv4Addr {
        self.address(129 + node)
    }

    fn rpc(&self, node: usize) -> Ipv4Addr {
        self.address(2 + node)
    }

    fn address(&self, last: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 231, self.subnet, u8::try_from(last).unwrap_or(u8::MAX))
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn namespace(&self, node: usize) -> String {
        format!("{}-{node}", self.name)
    }
}

/// Parses `0,1/2,3`.
///
/// # Errors
/// `Usage` when it is not of that form.
pub fn groups(text: &str) -> Result<Vec<Vec<usize>>> {
    let number = |n: &str| n.trim().parse().map_err(|_| NetError::Usage(format!("{n:?} is not a validator's number")));
    text.split('/').map(|group| group.split(',').map(number).collect()).collect()
}

fn each_once(groups: &[Vec<usize>], size: usize) -> Result<()> {
    let mut named: Vec<usize> = groups.iter().flatten().copied().collect();
    named.sort_unstable();
    if named == (0..size).collect::<Vec<_>>() {
        return Ok(());
    }
    Err(NetError::Usage(format!("the groups must name each of the validators 0 to {} once", size.saturating_sub(1))))
}

/// A subnet of 10.231.0.0/16 that no link of this machine is in.
fn free_subnet() -> Result<u8> {
    let taken = ip(&["-4", "-o", "address", "show"])
        .map_err(|e| NetError::NotPermitted(format!("network namespaces need iproute2's `ip`: {e}")))?;
    let free = (0..=u8::MAX).find(|n| !taken.contains(&format!(" 10.231.{n}.")));
    free.ok_or_else(|| NetError::Unavailable("every subnet of 10.231.0.0/16 is taken".into()))
}

fn ip(args: &[&str]) -> Result<String> {
    run(Command::new("ip").args(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_name_each_validator_once() {
        let two = groups("0,1/2,3").unwrap();
        assert_eq!(two, [[0, 1], [2, 3]]);
        assert!(each_once(&two, 4).is_ok());
        for wrong in ["0,1/2", "0,1/1,2,3", "0,1,2,3,4"] {
            assert!(each_once(&groups(wrong).unwrap(), 4).is_err(), "{wrong}");
        }
        assert!(groups("0,a").is_err() && groups("0//1").is_err());
    }
}
