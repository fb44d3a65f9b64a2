//! The calling side.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use labgob::{DecodeError, EncodeError};
use labrt::pool::Pool;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::tcp::frame::decode_body;

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RpcError {
    /// No answer came: the request or the reply was lost, the link is cut, or the server is dead.
    /// The call may have been carried out, or not, or be carried out later.
    Lost,
    /// The server has no service of this name.
    UnknownService(String),
    /// The service has no method of this name.
    UnknownMethod(String),
    /// The server could not decode the arguments.
    BadArguments(String),
    /// The reply could not be decoded here.
    BadReply(DecodeError),
    /// The arguments, or the reply at the server, could not be encoded.
    Unencodable(String),
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("no answer came"),
            Self::UnknownService(name) => write!(f, "the server has no service {name}"),
            Self::UnknownMethod(name) => write!(f, "the service has no method {name}"),
            Self::BadArguments(why) => {
                write!(f, "the server could not decode the arguments: {why}")
            }
            Self::BadReply(why) => write!(f, "the reply could not be decoded: {why}"),
            Self::Unencodable(why) => write!(f, "a value could not be encoded: {why}"),
        }
    }
}

impl std::error::Error for RpcError {}

impl From<EncodeError> for RpcError {
    fn from(error: EncodeError) -> Self {
        Self::Unencodable(error.to_string())
    }
}

/// What carries encoded calls from one node to another.
pub trait Transport: Send + Sync {
    /// Carries one call, blocking until its answer or its failure is known.
    ///
    /// # Errors
    /// See [`RpcError`].
    fn call(
        &self,
        service: &'static str,
        method: &'static str,
        args: Vec<u8>,
    ) -> Result<Vec<u8>, RpcError>;

    /// Begins a call; whoever wants its answer asks what is given back, which blocks. Unless a
    /// transport knows better, the answer is waited for here.
    fn start(
        &self,
        service: &'static str,
        method: &'static str,
        args: Vec<u8>,
    ) -> Box<dyn Started> {
        Box::new(Ended(Some(self.call(service, method, args))))
    }

    /// Begins a call, and has `then` run with its answer: by one of the pool's threads, unless the
    /// transport has a thread for that.
    fn call_then(
        &self,
        service: &'static str,
        method: &'static str,
        args: Vec<u8>,
        pool: &Pool,
        then: Then,
    );
}

/// What is to be done with the answer of a call.
pub type Then = Box<dyn FnOnce(Result<Vec<u8>, RpcError>) + Send>;

/// A call that was begun, for whoever wants its answer.
pub trait Started: Send {
    /// Blocks for the answer, for `limit` at most if there is one. None if it has not come; once it
    /// has, there is no other.
    fn wait(&mut self, limit: Option<Duration>) -> Option<Result<Vec<u8>, RpcError>>;
}

/// A call whose answer is there.
struct Ended(Option<Result<Vec<u8>, RpcError>>);

impl Started for Ended {
    fn wait(&mut self, _: Option<Duration>) -> Option<Result<Vec<u8>, RpcError>> {
        self.0.take()
    }
}

/// A call that was begun ([`ClientEnd::start`]). Dropped, its answer is of no interest any more.
#[must_use = "a call that nobody waits for may fail, and nobody hears of it"]
pub struct Pending<Reply> {
    started: Box<dyn Started>,
    service: &'static str,
    method: &'static str,
    reply: PhantomData<fn() -> Reply>,
}

impl<Reply: DeserializeOwned> Pending<Reply> {
    /// Blocks for the reply. It always returns.
    ///
    /// # Errors
    /// As for [`ClientEnd::call`].
    pub fn wait(mut self) -> Result<Reply, RpcError> {
        let answer = self.started.wait(None).unwrap_or(Err(RpcError::Lost));
        decode_reply(self.service, self.method, answer)
    }

    /// Blocks for the reply, for so long at most. None if it has not come: then it can be waited
    /// for again. There is one reply, and after it no other.
    #[must_use = "the reply comes but once"]
    pub fn wait_for(&mut self, limit: Duration) -> Option<Result<Reply, RpcError>> {
        let answer = self.started.wait(Some(limit))?;
        Some(decode_reply(self.service, self.method, answer))
    }
}

impl<Reply> fmt::Debug for Pending<Reply> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending({}.{})", self.service, self.method)
    }
}

fn decode_reply<Reply: DeserializeOwned>(
    service: &'static str,
    method: &'static str,
    answer: Result<Vec<u8>, RpcError>,
) -> Result<Reply, RpcError> {
    decode_body(&answer?).map_err(|error| {
        log::error!(target: "rpc", "{service}.{method}: the reply is undecodable: {error}");
        RpcError::BadReply(error)
    })
}

/// One end from which a node calls another: an ordered pair of them. Clones share it.
#[derive(Clone)]
pub struct ClientEnd(Arc<dyn Transport>);

impl ClientEnd {
    /// An end on any transport.
    pub fn new(transport: impl Transport + 'static) -> Self {
        Self(Arc::new(transport))
    }

    /// Calls `service.method(args)` and blocks for the reply. It always returns.
    ///
    /// # Errors
    /// [`RpcError::Lost`] if no answer came; the others tell of a mistake in the code.
    pub fn call<Args, Reply>(
        &self,
        service: &'static str,
        method: &'static str,
        args: &Args,
    ) -> Result<Reply, RpcError>
    where
        Args: Serialize + ?Sized,
        Reply: DeserializeOwned,
    {
        decode_reply(service, method, self.0.call(service, method, labgob::encode(args)?))
    }

    /// Begins to call `service.method(args)`, and lets the caller do something else until it wants
    /// the reply: so one thread can have many calls in flight. On some transports the request
    /// leaves only when the caller waits for this or another call, together with others.
    pub fn start<Args, Reply>(
        &self,
        service: &'static str,
        method: &'static str,
        args: &Args,
    ) -> Pending<Reply>
    where
        Args: Serialize + ?Sized,
        Reply: DeserializeOwned,
    {
        let started = match labgob::encode(args) {
            Ok(args) => self.0.start(service, method, args),
            Err(error) => Box::new(Ended(Some(Err(error.into())))),
        };
        Pending { started, service, method, reply: PhantomData }
    }

    /// Begins to call `service.method(args)`, and has `then` run once there is a reply, or there
    /// will be none: on this thread if that is known at once, else on one of the pool, or one that
    /// the transport has for that. So `then` must neither block nor panic. It is given the
    /// arguments, too. Nobody runs it if the pool is closed meanwhile, or its server crashes.
    pub fn call_then<Args, Reply>(
        &self,
        service: &'static str,
        method: &'static str,
        args: Args,
        pool: &Pool,
        then: impl FnOnce(Args, Result<Reply, RpcError>) + Send + 'static,
    ) where
        Args: Serialize + Send + 'static,
        Reply: DeserializeOwned,
    {
        match labgob::encode(&args) {
            Ok(encoded) => {
                let then = move |answer| then(args, decode_reply(service, method, answer));
                self.0.call_then(service, method, encoded, pool, Box::new(then));
            }
            Err(error) => then(args, Err(error.into())),
        }
    }
}

impl fmt::Debug for ClientEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientEnd { .. }")
    }
}
