//! What a request does with its session: the workloads of `session/benches/middleware`.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// W1: the request has the cookie of a session, and the handler does not ask for it.
    Untouched,
    /// W2: the handler reads one integer.
    Read,
    /// W3: it reads the integer and stores it plus one.
    Replace,
    /// W4: the request has no cookie, and the handler stores one key in a new session.
    Create,
}

impl Workload {
    pub(crate) const ALL: [Self; 4] = [Self::Untouched, Self::Read, Self::Replace, Self::Create];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Untouched => "/untouched",
            Self::Read => "/read",
            Self::Replace => "/replace",
            Self::Create => "/create",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Untouched => "W1 untouched",
            Self::Read => "W2 read",
            Self::Replace => "W3 replace",
            Self::Create => "W4 create",
        }
    }

    pub(crate) fn has_cookie(self) -> bool {
        self != Self::Create
    }
}
