//! The serving side: services, and the macro that declares one.
//!
//! Most services are as [`service!`](crate::service) makes them: a method blocks for as long as it
//! likes, and what it returns is the reply. The thread that runs it is its own meanwhile.
//!
//! A service whose answers often wait for something else, an entry to be committed, a write to be
//! durable, may be [*prompt*](Service::prompt) instead: its methods return soon, and the answer is
//! given later, by whoever has it, through the call's [`Responder`]. So a thousand calls that wait
//! need no thousand threads, and an answer needs no thread to be woken that only passes it on.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::RpcError;
use crate::responder::{Responder, ServingThread};
use crate::tcp::frame::decode_body;

type Answer = Result<Vec<u8>, RpcError>;
type Blocking = dyn Fn(&str, &[u8]) -> Answer + Send + Sync;
type Prompt = dyn Fn(&str, &[u8], Responder, &ServingThread<'_>) + Send + Sync;

/// A named set of methods that a server offers.
pub struct Service {
    name: &'static str,
    dispatch: Dispatch,
}

enum Dispatch {
    Blocking(Box<Blocking>),
    Prompt(Box<Prompt>),
}

impl Service {
    /// A service whose calls go to `dispatch(method, encoded arguments)`;
    /// [`service!`](crate::service) makes these.
    pub fn new(
        name: &'static str,
        dispatch: impl Fn(&str, &[u8]) -> Result<Vec<u8>, RpcError> + Send + Sync + 'static,
    ) -> Self {
        Self { name, dispatch: Dispatch::Blocking(Box::new(dispatch)) }
    }

    /// A service whose calls go to `dispatch(method, encoded arguments, responder, thread)`, which
    /// returns soon: the thread may have other calls to serve. If it must block nevertheless, it
    /// [says so](ServingThread::will_block) first.
    pub fn prompt(
        name: &'static str,
        dispatch: impl Fn(&str, &[u8], Responder, &ServingThread<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self { name, dispatch: Dispatch::Prompt(Box::new(dispatch)) }
    }

    /// The name it is called by.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs one method, and blocks for its encoded reply.
    ///
    /// # Errors
    /// If there is no such method, or arguments or reply do not go through the encoding; if a
    /// prompt service drops the responder.
    pub fn call(&self, method: &str, args: &[u8]) -> Answer {
        match &self.dispatch {
            Dispatch::Blocking(dispatch) => dispatch(method, args),
            Dispatch::Prompt(dispatch) => {
                let (responder, answer) = Responder::channel();
                dispatch(method, args, responder, &ServingThread::unshared());
                answer.recv_or_end().unwrap_or(Err(RpcError::Lost))
            }
        }
    }

    /// Runs one method, whose answer goes to the responder.
    fn serve(&self, method: &str, args: &[u8], responder: Responder, thread: &ServingThread<'_>) {
        match &self.dispatch {
            Dispatch::Prompt(dispatch) => dispatch(method, args, responder, thread),
            Dispatch::Blocking(dispatch) => {
                thread.will_block();
                thread.keep(responder.answer(dispatch(method, args)));
            }
        }
    }
}

/// Whoever runs the calls that come to a node: its services, or somebody who passes them on.
pub(crate) trait Handler: Send + Sync {
    /// Runs one call, blocking until its answer is known.
    fn call(&self, service: &str, method: &str, args: &[u8]) -> Answer;

    /// Runs one call on a thread that may have others to serve.
    fn serve(
        &self,
        service: &str,
        method: &str,
        args: &[u8],
        responder: Responder,
        thread: &ServingThread<'_>,
    ) {
        thread.will_block();
        thread.keep(responder.answer(self.call(service, method, args)));
    }
}

impl Handler for Vec<Service> {
    fn call(&self, service: &str, method: &str, args: &[u8]) -> Answer {
        named(self, service)?.call(method, args)
    }

    fn serve(
        &self,
        service: &str,
        method: &str,
        args: &[u8],
        responder: Responder,
        thread: &ServingThread<'_>,
    ) {
        match named(self, service) {
            Ok(service) => service.serve(method, args, responder, thread),
            Err(error) => thread.keep(responder.refuse(error)),
        }
    }
}

fn named<'a>(services: &'a [Service], name: &str) -> Result<&'a Service, RpcError> {
    let named = services.iter().find(|service| service.name == name);
    named.ok_or_else(|| RpcError::UnknownService(name.to_string()))
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({})", self.name)
    }
}

/// Decodes the arguments, runs the handler, and encodes its reply.
///
/// # Errors
/// If the arguments cannot be decoded or the reply cannot be encoded.
pub fn dispatch<Args, Reply>(
    args: &[u8],
    handler: impl FnOnce(Args) -> Reply,
) -> Result<Vec<u8>, RpcError>
where
    Args: DeserializeOwned,
    Reply: Serialize,
{
    Ok(labgob::encode(&handler(decode_args(args)?))?)
}

/// The arguments of a call.
///
/// # Errors
/// [`RpcError::BadArguments`], if that is not what the bytes are.
pub fn decode_args<Args: DeserializeOwned>(args: &[u8]) -> Result<Args, RpcError> {
    decode_body(args).map_err(|error| RpcError::BadArguments(error.to_string()))
}

/// Declares a service: a trait that a server implements, and a stub for its clients.
///
/// ```
/// labrpc::service! {
///     /// What the service is for.
///     pub trait Echo, client EchoClient {
///         /// Gives its argument back.
///         fn echo(args: String) -> String;
///     }
/// }
/// ```
///
/// makes the trait `Echo` with the method `fn echo(&self, args: String) -> String`, and the struct
/// `EchoClient` with `new(ClientEnd)`, `echo(&self, args: &String) -> Result<String, RpcError>`,
/// and `EchoClient::service(Arc<impl Echo>)`, the [`Service`] to register at a server.
#[macro_export]
macro_rules! service {
    (
        $(#[$trait_doc:meta])*
        $vis:vis trait $service:ident, client $client:ident {
            $($(#[$method_doc:meta])* fn $method:ident($args:ident: $args_type:ty) -> $reply:ty;)*
        }
    ) => {
        $(#[$trait_doc])*
        $vis trait $service: Send + Sync + 'static {
            $($(#[$method_doc])* fn $method(&self, $args: $args_type) -> $reply;)*
        }

        #[doc = concat!("Calls [`", stringify!($service), "`] at another node.")]
        #[derive(Clone, Debug)]
        $vis struct $client($crate::ClientEnd);

        #[allow(dead_code, reason = "a service need not be called from where it is declared")]
        impl $client {
            /// A stub on this end.
            $vis fn new(end: $crate::ClientEnd) -> Self {
                Self(end)
            }

            $($(#[$method_doc])*
            ///
            /// # Errors
            /// If no answer came, or the call does not go through the encoding.
            $vis fn $method(&self, $args: &$args_type) -> Result<$reply, $crate::RpcError> {
                self.0.call(stringify!($service), stringify!($method), $args)
            })*

            /// The service to register at a server.
            $vis fn service<S: $service>(server: std::sync::Arc<S>) -> $crate::Service {
                $crate::Service::new(stringify!($service), move |method, args| match method {
                    $(stringify!($method) => $crate::dispatch(args, |args| server.$method(args)),)*
                    unknown => Err($crate::RpcError::UnknownMethod(unknown.to_string())),
                })
            }
        }
    };
}
