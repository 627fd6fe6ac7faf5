//! How traces reach their collector: the exporter works on a thread of its own, where the HTTP
//! client of this process cannot run, so each request is handed to the runtime.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

use crate::{Error, Result};

/// How long the collector may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Sender {
    client: reqwest::Client,
    runtime: Handle,
}

impl Sender {
    pub(super) fn new() -> Result<Self> {
        let runtime = Handle::try_current()
            .map_err(|_| Error::internal("traces cannot be sent without a runtime"))?;
        let client = reqwest::Client::builder()
            .timeout(SEND_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|_| Error::internal("the client that sends traces cannot be made"))?;
        Ok(Self { client, runtime })
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

type Sent<'a> =
    Pin<Box<dyn Future<Output = std::result::Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Sender {
    fn send_bytes<'life0, 'async_trait>(&'life0 self, request: Request<Bytes>) -> Sent<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move {
            let response = client.execute(request.try_into()?).await?;
            let (status, body) = (response.status(), response.bytes().await?);
            let mut answer = Response::new(body);
            *answer.status_mut() = status;
            Ok(answer)
        });
        Box::pin(async move { sending.await? })
    }
}
