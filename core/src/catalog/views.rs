//! The views of a snapshot, each made when first asked for and again after a change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::merged::Merged;
use super::view::Sight;
use super::{Scope, View};
use crate::acl::{Rules, Truth};
use crate::config::{Config, Selector};
use crate::names::ServerName;
use crate::sorted::SortedMap;
use crate::upstream::{Server, lock};

/// The most views that are kept. Each may hold the text of its lists.
const KEPT: usize = 256;

/// The views of one configuration.
#[derive(Debug, Default)]
pub(crate) struct Views {
    /// Counts the changes, also those of the views beside.
    generation: Arc<AtomicU64>,
    made: ArcSwap<Made>,
    making: Mutex<()>,
}

#[derive(Debug, Default)]
struct Made {
    merged: Option<Arc<Merged>>,
    views: SortedMap<Key, Arc<View>>,
}

/// What a view depends on, besides what servers offer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    scope: Scope,
    agent: usize,
    outcomes: Box<[Truth]>,
}

/// Who looks, and at what.
pub(crate) struct Looking<'s> {
    /// The endpoint.
    pub(crate) scope: &'s Scope,
    /// What it is narrowed to, where it is a group's.
    pub(crate) group: Option<&'s [Selector]>,
    /// The rules of whoever looks.
    pub(crate) rules: &'s Arc<Rules>,
    /// What their conditions come to that do not depend on a call.
    pub(crate) outcomes: Box<[Truth]>,
}

impl Views {
    /// Returns views of another choice of servers, which change whenever these do.
    pub(crate) fn beside(&self) -> Self {
        Self { generation: self.generation.clone(), ..Self::default() }
    }

    /// Notes that some server's offer has changed.
    pub(crate) fn invalidate(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Returns what somebody sees.
    pub(crate) fn view(
        &self,
        looking: Looking<'_>,
        config: &Config,
        servers: &SortedMap<ServerName, Arc<Server>>,
    ) -> Arc<View> {
        let key = Key {
            scope: looking.scope.clone(),
            agent: looking.rules.index,
            outcomes: looking.outcomes.clone(),
        };
        if let Some(view) = self.current(&key) {
            return view;
        }
        let _one_at_a_time = lock(&self.making);
        if let Some(view) = self.current(&key) {
            return view;
        }
        let merged = self.merged(config, servers);
        let view = Arc::new(View::make(&config.gateway, merged.clone(), &looking.sight(&|_| true)));
        let made = self.made.load();
        let mut views = match &made.merged {
            Some(same) if Arc::ptr_eq(same, &merged) => made.views.clone(),
            _ => SortedMap::new(),
        };
        if views.len() >= KEPT {
            views.pop_first();
        }
        views.insert(key, view.clone());
        self.made.store(Arc::new(Made { merged: Some(merged), views }));
        view
    }

    /// Returns what somebody sees of some servers; it is not kept.
    pub(crate) fn view_of(
        &self,
        looking: &Looking<'_>,
        config: &Config,
        servers: &SortedMap<ServerName, Arc<Server>>,
        shown: &dyn Fn(&ServerName) -> bool,
    ) -> Arc<View> {
        Arc::new(View::make(&config.gateway, self.merged(config, servers), &looking.sight(shown)))
    }

    fn current(&self, key: &Key) -> Option<Arc<View>> {
        let made = self.made.load();
        let view = made.views.get(key)?;
        (view.merged.generation == self.generation.load(Ordering::Acquire)).then(|| view.clone())
    }

    fn merged(&self, config: &Config, servers: &SortedMap<ServerName, Arc<Server>>) -> Arc<Merged> {
        let generation = self.generation.load(Ordering::Acquire);
        match &self.made.load().merged {
            Some(merged) if merged.generation == generation => merged.clone(),
            _ => Arc::new(Merged::make(generation, &config.gateway, &config.variants, servers.iter())),
        }
    }
}

/// Everything that servers offer, merged, for looking at it again and again.
#[cfg(any(test, feature = "testing"))]
pub(crate) struct Lookout {
    settings: crate::config::Gateway,
    merged: Arc<Merged>,
}

#[cfg(any(test, feature = "testing"))]
impl Lookout {
    /// Merges what the servers offer.
    pub(crate) fn new(config: &Config, servers: &SortedMap<ServerName, Arc<Server>>) -> Self {
        let merged = Merged::make(0, &config.gateway, &config.variants, servers.iter());
        Self { settings: config.gateway.clone(), merged: Arc::new(merged) }
    }

    /// Returns what somebody with these rules sees, where its conditions come to nothing certain.
    pub(crate) fn view(&self, scope: &Scope, rules: &Arc<Rules>) -> View {
        let outcomes = rules.outcomes(|_, _| Truth::Undecided);
        let looking = Looking { scope, group: None, rules, outcomes };
        View::make(&self.settings, self.merged.clone(), &looking.sight(&|_| true))
    }
}

/// Returns what an agent sees at an endpoint, where its conditions come to nothing certain.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn look(
    settings: &crate::config::Gateway,
    servers: &SortedMap<ServerName, Arc<Server>>,
    scope: &Scope,
    agent: crate::config::Agent,
) -> View {
    let policy = crate::config::Policy { default: Arc::new(agent), ..crate::config::Policy::default() };
    let rules = crate::acl::Acl::new(&policy).rules(&policy.default.name);
    let config = Config { gateway: settings.clone(), ..Config::default() };
    Lookout::new(&config, servers).view(scope, &rules)
}

impl Looking<'_> {
    fn sight<'s>(&'s self, servers: &'s dyn Fn(&ServerName) -> bool) -> Sight<'s> {
        Sight { servers, scope: self.scope, group: self.group, rules: self.rules, outcomes: &self.outcomes }
    }
}
