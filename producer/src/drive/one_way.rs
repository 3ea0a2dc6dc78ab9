//! A wire on which nothing is said: the frames of a feed that is made or read here, and nobody who would hear an answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::BoxStream;
use futures::{Sink, Stream};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::drive::feed::Wire;

pub struct OneWay(BoxStream<'static, Message>);

impl OneWay {
    /// The wire that these frames come from; it ends when they do.
    pub fn wire(frames: impl Stream<Item = Message> + Send + 'static) -> Pin<Box<dyn Wire>> {
        Box::pin(Self(Box::pin(frames)))
    }
}

impl Stream for OneWay {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context).map(|frame| frame.map(Ok))
    }
}

impl Sink<Message> for OneWay {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, _: Message) -> Result<(), Error> {
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }
}
