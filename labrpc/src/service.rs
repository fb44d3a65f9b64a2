//! The serving side: services, and the macro that declares one.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::RpcError;

type Dispatch = dyn Fn(&str, &[u8]) -> Result<Vec<u8>, RpcError> + Send + Sync;

/// A named set of methods that a server offers.
pub struct Service {
    name: &'static str,
    dispatch: Box<Dispatch>,
}

impl Service {
    /// A service whose calls go to `dispatch(method, encoded arguments)`;
    /// [`service!`](crate::service) makes these.
    pub fn new(
        name: &'static str,
        dispatch: impl Fn(&str, &[u8]) -> Result<Vec<u8>, RpcError> + Send + Sync + 'static,
    ) -> Self {
        Self { name, dispatch: Box::new(dispatch) }
    }

    /// The name it is called by.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs one method, and gives its encoded reply.
    ///
    /// # Errors
    /// If there is no such method, or arguments or reply do not go through the encoding.
    pub fn call(&self, method: &str, args: &[u8]) -> Result<Vec<u8>, RpcError> {
        (self.dispatch)(method, args)
    }
}

/// Whoever runs the calls that come to a node: its services, or somebody who passes them on.
pub(crate) trait Handler: Send + Sync {
    /// Runs one call, blocking until its answer is known.
    fn handle(&self, service: &str, method: &str, args: &[u8]) -> Result<Vec<u8>, RpcError>;
}

impl Handler for Vec<Service> {
    fn handle(&self, service: &str, method: &str, args: &[u8]) -> Result<Vec<u8>, RpcError> {
        let named = self.iter().find(|it| it.name == service);
        let service = named.ok_or_else(|| RpcError::UnknownService(service.to_string()))?;
        service.call(method, args)
    }
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
    let args = labgob::decode(args).map_err(|error| RpcError::BadArguments(error.to_string()))?;
    Ok(labgob::encode(&handler(args))?)
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
