//! What no replicated service can do without, bare: one write to the disk, and messages to another
//! process and back.

use std::env;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Outcome;

/// What is appended to the file at a time.
pub(crate) const RECORD: [u8; 256] = [7; 256];
/// What goes to the other process, and comes back.
const MESSAGE_BYTES: usize = 64;

/// A file that grows, as a log does.
pub(crate) struct Disk(File);

impl Disk {
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, String> {
        Self::at(&folder.join("yardstick"))
    }

    pub(crate) fn at(path: &Path) -> Result<Self, String> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.map(Self).map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }

    pub(crate) fn append_and_sync(&mut self) -> Result<(), String> {
        let written = self.0.write_all(&RECORD).and_then(|()| self.0.sync_data());
        written.map_err(|error| format!("the disk has failed: {error}"))
    }
}

/// This program once more, in another role; it is ended when this is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts it, and waits until it says where it listens.
    pub(crate) fn start(args: &[OsString]) -> io::Result<(Self, SocketAddr)> {
        let mut command = Command::new(env::current_exe()?);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Self(command.spawn()?);
        let output = process.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address)?;
        Ok((process, address.trim().parse().map_err(io::Error::other)?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a role begins with: see [`Process::start`].
pub(crate) fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    Ok(listener)
}

pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// A process that sends back what it is sent, with one thread that reads and writes.
pub(crate) struct Echo {
    socket: TcpStream,
    _process: Process,
}

impl Echo {
    pub(crate) fn start() -> Result<Self, String> {
        let started = Process::start(&["echo".into()]).and_then(|(process, address)| {
            Ok(Self { socket: connect(address)?, _process: process })
        });
        started.map_err(|error| format!("the loopback cannot be measured: {error}"))
    }

    pub(crate) fn round_trip(&mut self) -> Result<(), String> {
        let mut answer = [0; MESSAGE_BYTES];
        let sent = self.socket.write_all(&[7; MESSAGE_BYTES]);
        sent.and_then(|()| self.socket.read_exact(&mut answer))
            .map_err(|error| format!("the loopback has failed: {error}"))
    }
}

/// The other process. It ends when its connection does.
pub(crate) fn echo() -> Outcome {
    serve().map(|()| true).map_err(|error| format!("the loopback cannot be used: {error}"))
}

fn serve() -> io::Result<()> {
    let (mut socket, _) = listen()?.accept()?;
    socket.set_nodelay(true)?;
    let mut message = [0; MESSAGE_BYTES];
    while socket.read_exact(&mut message).is_ok() {
        socket.write_all(&message)?;
    }
    Ok(())
}
