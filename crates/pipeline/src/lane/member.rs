//! A request that waits for its part, as whoever makes the call sees it: shared between two cores.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use plimsoll_engines::batch::{Joinable, Share};
use plimsoll_engines::{Call, Failure};
use plimsoll_types::{Head, Instant, Request};

use super::group::{UnderWay, Wanted};

pub(super) struct Member {
    pub(super) request: Request,
    pub(super) read: Joinable,
    /// The backend's name for the model.
    pub(super) alias: Option<String>,
    pub(super) came: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stage: Stage,
    /// The call that it left with.
    call: Option<Arc<Wanted>>,
    waker: Option<Waker>,
}

#[derive(Default)]
enum Stage {
    #[default]
    Waiting,
    UnderWay,
    Told(Told),
    /// It was told, or its caller has left.
    Gone,
}

/// What became of the call.
pub(super) enum Told {
    /// It is to ask by itself, and where it was the only one, as the call that is under way.
    Alone(Option<UnderWay>),
    Answered(Head, Share),
    /// The backend answered all of them with a status alone.
    Status(Head),
    Failed(Failure),
}

impl Member {
    pub(super) fn new(call: &Call<'_>, read: Joinable, came: Instant) -> Self {
        let alias = call.alias.map(str::to_owned);
        Self { request: call.request.clone(), read, alias, came, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It leaves with others; whether its caller is still there.
    pub(super) fn departs(&self, wanted: &Arc<Wanted>) -> bool {
        let mut state = self.state();
        let waits = matches!(state.stage, Stage::Waiting);
        if waits {
            wanted.more();
            state.call = Some(Arc::clone(wanted));
            state.stage = Stage::UnderWay;
        }
        waits
    }

    pub(super) fn tell(&self, told: Told) {
        let mut state = self.state();
        if let Stage::UnderWay = state.stage {
            state.stage = Stage::Told(told);
            let waker = state.waker.take();
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Nobody will tell it any more.
    pub(super) fn is_let_down(&self) {
        self.tell(Told::Failed(Failure::Broken("the call that it was a part of ended")));
    }

    pub(super) fn wake(&self) {
        let waker = self.state().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What it was told, once; until then `cx` is woken, and `true` says that it has not left yet.
    pub(super) fn hears(&self, cx: &Context<'_>) -> Result<Told, bool> {
        let mut state = self.state();
        match &state.stage {
            Stage::Told(_) => {}
            Stage::Gone => return Err(false),
            stage => {
                let waits = matches!(stage, Stage::Waiting);
                state.waker = Some(cx.waker().clone());
                return Err(waits);
            }
        }
        match std::mem::replace(&mut state.stage, Stage::Gone) {
            Stage::Told(told) => Ok(told),
            _ => Err(false),
        }
    }

    /// Whether somebody else tells how the call went that it left with.
    pub(super) fn is_accounted_for(&self) -> bool {
        self.state().call.as_ref().is_some_and(|call| call.is_accounted_for())
    }

    /// Its caller leaves; whether it still waited.
    pub(super) fn leaves(&self) -> bool {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.stage, Stage::Gone);
        let call = state.call.take();
        drop(state);
        if let (Stage::UnderWay, Some(call)) = (&before, call) {
            call.less();
        }
        matches!(before, Stage::Waiting)
    }
}
