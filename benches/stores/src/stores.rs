//! The servers of this measurement, each started when somebody first needs it.

use std::path::PathBuf;

use session_tests::servers::{MariaDb, Postgres, Redis};
use tempfile::TempDir;

use crate::contender::{Contender, Maker, Place};

pub(crate) struct Stores {
    folder: TempDir,
    redis: Option<Redis>,
    postgres: Option<Postgres>,
    mariadb: Option<MariaDb>,
}

impl Stores {
    /// # Errors
    ///
    /// When no folder can be made.
    pub(crate) fn new() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("no folder can be made: {error}"))?;
        Ok(Self {
            folder,
            redis: None,
            postgres: None,
            mariadb: None,
        })
    }

    /// Where the sessions of a contender are.
    pub(crate) fn address(&mut self, contender: &Contender) -> String {
        match contender.place {
            Place::Nowhere | Place::Process => String::new(),
            Place::Folder | Place::File => self.file(contender.id).display().to_string(),
            Place::Redis => self.redis().url(),
            Place::Postgres => {
                let name = match contender.maker {
                    Maker::Ours => "application_name=ours",
                    Maker::Peers(_) => "application_name=theirs",
                };
                self.postgres().url(name)
            }
            Place::MariaDb => self.mariadb().url(""),
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn redis(&mut self) -> &Redis {
        self.redis.get_or_insert_with(|| Redis::start(&[]))
    }

    /// Redis, if it runs.
    pub(crate) fn started_redis(&self) -> Option<&Redis> {
        self.redis.as_ref()
    }

    pub(crate) fn postgres(&mut self) -> &Postgres {
        self.postgres.get_or_insert_with(Postgres::start)
    }

    pub(crate) fn mariadb(&mut self) -> &MariaDb {
        self.mariadb.get_or_insert_with(MariaDb::start)
    }
}
