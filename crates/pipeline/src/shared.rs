use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use plimsoll_routing::{Fleet, Pool};
use plimsoll_types::ServeError;

use crate::Config;
use crate::homes::Homes;
use crate::lane::Lanes;
use crate::metrics::ModelMetrics;
use crate::room::Room;

/// The fleet and the limits as they are at one instant: replaced as a whole, so that no request sees half of a change.
pub struct Snapshot {
    /// The backends.
    pub fleet: Fleet,
    /// The limits.
    pub config: Config,
    lanes: HashMap<String, Arc<Lane>>,
}

/// A model: its pool and its metrics.
pub(crate) struct Lane {
    pub(crate) pool: Arc<Pool>,
    pub(crate) metrics: ModelMetrics,
    /// Where requests wait while every backend is at its line.
    pub(crate) room: Arc<Room>,
}

impl Snapshot {
    /// A snapshot of `fleet` under `config`.
    #[must_use]
    pub fn new(fleet: Fleet, config: Config) -> Self {
        Self::after(None, fleet, config)
    }

    /// A snapshot of `fleet` under `config`, in which those who wait in `before` keep their places.
    #[must_use]
    pub fn after(before: Option<&Self>, fleet: Fleet, config: Config) -> Self {
        let lanes = fleet.pools().map(|pool| {
            let same = before.and_then(|before| before.lanes.get(&pool.model));
            let room = same.map_or_else(Arc::default, |lane| Arc::clone(&lane.room));
            let lane = Lane { pool: Arc::clone(pool), metrics: ModelMetrics::new(&pool.model), room };
            (pool.model.clone(), Arc::new(lane))
        });
        Self { lanes: lanes.collect(), fleet, config }
    }

    /// All models.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.lanes.values()
    }

    pub(crate) fn lane(&self, model: &str) -> Result<Arc<Lane>, ServeError> {
        self.lanes.get(model).cloned().ok_or_else(|| {
            let model = model.chars().take(200).collect();
            if self.fleet.backends.iter().any(|backend| backend.spec.models.is_empty()) {
                return ServeError::ModelNotKnownYet { model };
            }
            ServeError::UnknownModel { model, known: self.fleet.known_models().to_owned() }
        })
    }
}

/// What the cores share.
pub struct Shared {
    snapshot: ArcSwap<Snapshot>,
    in_flight: InFlight,
    draining: AtomicBool,
    cutting: AtomicBool,
    /// Where requests for one backend are joined.
    pub(crate) lanes: Lanes,
    /// Where responses live.
    pub homes: Homes,
}

/// On a line of its own: every core writes it with every request.
#[derive(Default)]
#[repr(align(128))]
struct InFlight(AtomicU64);

impl Shared {
    /// What cores share, beginning with `snapshot`.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Arc<Self> {
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            in_flight: InFlight::default(),
            draining: AtomicBool::new(false),
            cutting: AtomicBool::new(false),
            lanes: Lanes::default(),
            homes: Homes::default(),
        })
    }

    /// The snapshot in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts another snapshot in force: for requests that come from now on.
    pub fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Requests being served.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.0.load(Relaxed)
    }

    /// Lets connections end with the request that they are at.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether connections are to end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Ends what is still running, each stream with an error.
    pub fn cut(&self) {
        self.cutting.store(true, Relaxed);
    }

    pub(crate) fn is_cutting(&self) -> bool {
        self.cutting.load(Relaxed)
    }

    pub(crate) fn admit(self: &Arc<Self>, config: &Config) -> Result<Permit, ServeError> {
        let before = self.in_flight.0.fetch_add(1, Relaxed);
        // From here on the permit gives back what was counted.
        let permit = Permit(Arc::clone(self));
        if before >= config.max_in_flight {
            return Err(ServeError::Overloaded { retry_after: std::time::Duration::from_secs(1) });
        }
        Ok(permit)
    }
}

/// The right to be served; given back when dropped.
pub(crate) struct Permit(Arc<Shared>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.0.fetch_sub(1, Relaxed);
    }
}
