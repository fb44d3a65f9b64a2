//! What no replicated service can do without, bare: one write to the disk, and messages to another
//! process and back.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Outcome;

/// What is appended to the file at a time.
const RECORD: [u8; 256] = [7; 256];
/// What goes to the other process, and comes back.
const MESSAGE_BYTES: usize = 64;

/// A file that grows, as a log does.
pub(crate) struct Disk(File);

impl Disk {
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, String> {
        let path = folder.join("yardstick");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.map(Self).map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }

    pub(crate) fn append_and_sync(&mut self) -> Result<(), String> {
        let written = self.0.write_all(&RECORD).and_then(|()| self.0.sync_data());
        written.map_err(|error| format!("the disk has failed: {error}"))
    }
}

/// A process that sends back what it is sent: this program once more, with one thread that reads
/// and writes.
pub(crate) struct Echo {
    socket: TcpStream,
    process: Child,
}

impl Echo {
    pub(crate) fn start() -> Result<Self, String> {
        let failed = |error: io::Error| format!("the loopback cannot be measured: {error}");
        let mut command = Command::new(env::current_exe().map_err(failed)?);
        command.arg("echo").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(failed)?;
        let connected = connect(&mut process).map_err(failed);
        if connected.is_err() {
            end(&mut process);
        }
        Ok(Self { socket: connected?, process })
    }

    pub(crate) fn round_trip(&mut self) -> Result<(), String> {
        let mut answer = [0; MESSAGE_BYTES];
        let sent = self.socket.write_all(&[7; MESSAGE_BYTES]);
        sent.and_then(|()| self.socket.read_exact(&mut answer))
            .map_err(|error| format!("the loopback has failed: {error}"))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn end(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}

/// The process says where it listens.
fn connect(process: &mut Child) -> io::Result<TcpStream> {
    let output = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut address = String::new();
    BufReader::new(output).read_line(&mut address)?;
    let address: SocketAddr = address.trim().parse().map_err(io::Error::other)?;
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// The other process. It ends when its connection does.
pub(crate) fn echo() -> Outcome {
    serve().map(|()| true).map_err(|error| format!("the loopback cannot be used: {error}"))
}

fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    let (mut socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    let mut message = [0; MESSAGE_BYTES];
    while socket.read_exact(&mut message).is_ok() {
        socket.write_all(&message)?;
    }
    Ok(())
}
