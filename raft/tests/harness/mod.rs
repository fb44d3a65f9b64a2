//! A cluster of cores on a network and on disks that do as the script says.

mod cluster;
mod commands;
mod network;
mod show;

use std::error::Error;

use cluster::Cluster;
use commands::Command;

/// Runs one script, which begins with the command `cluster`.
#[derive(Default)]
pub(crate) struct Runner {
    cluster: Option<Cluster>,
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(
        &mut self,
        command: &Command,
        _context: &goldenscript::Context,
    ) -> Result<String, Box<dyn Error>> {
        if let Some(cluster) = commands::cluster(command)? {
            self.cluster = Some(cluster);
        }
        let cluster = self.cluster.as_mut().ok_or("a script begins with `cluster nodes=N`")?;
        command.run(cluster)?;
        Ok(cluster.take_output())
    }
}
