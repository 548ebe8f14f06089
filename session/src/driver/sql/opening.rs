//! Making the table, once, whoever comes first.

use sqlx::pool::PoolConnection;

use super::attempts::{Attempts, connection};
use super::dialect::{Dialect, Fault};
use super::error::fault;
use super::statements::Values;
use super::store::Store;
use crate::error::DriverError;

impl<D: Dialect> Store<D> {
    /// Makes the table or brings it up to date, unless it is, and looks whether it can be read.
    ///
    /// A table that is up to date takes two SELECTs, so whoever runs the migration files by other means need not let this program create tables.
    pub(super) async fn open(&self) -> Result<(), DriverError> {
        let purpose = "make the table of sessions";
        let newest = D::MIGRATIONS.len() as i64;
        let found = self.migrated().await.map_err(|error| self.error(purpose, &error))?;
        if found > newest {
            return Err(DriverError::backend(format!(
                "the table `{}` was made by a later release of session-schema: it has version {found}, and this release knows {newest}",
                self.table
            )));
        }
        let read = self.run(&self.statements.read, &Values::default()).await;
        read.map_err(|error| {
            self.error(
                "read from the table of sessions; if another program has made it, choose another name by `with_table`",
                &error,
            )
        })?;
        self.learn_limit().await.map_err(|error| self.error(purpose, &error))
    }

    /// The version of the table, after it was brought up to the newest that this release knows.
    async fn migrated(&self) -> sqlx::Result<i64> {
        let mut attempts = Attempts::new();
        loop {
            match self.migrate_once(attempts.cut()).await {
                Ok(version) => return Ok(version),
                Err(error) => attempts.another::<D>(error).await?,
            }
        }
    }

    async fn migrate_once(&self, tested: bool) -> sqlx::Result<i64> {
        let query = format!("SELECT MAX(version) FROM {}", self.table.quoted_schema::<D>());
        let mut connection = connection(&self.pool, tested).await?;
        let version = match D::number(&mut connection, query.clone()).await {
            Ok(version) => version.unwrap_or_default(),
            // There is no such table, in whichever words a database says so.
            Err(error) if fault::<D>(&error) == Fault::Refused => 0,
            Err(error) => return Err(error),
        };
        let done = usize::try_from(version).unwrap_or_default().min(D::MIGRATIONS.len());
        let missing = &D::MIGRATIONS[done..];
        if missing.is_empty() {
            return Ok(version);
        }
        let mut script = D::BEGIN.to_owned();
        missing
            .iter()
            .for_each(|file| script += &self.table.applied_to::<D>(file));
        script += D::COMMIT;
        let mut migration = Migration {
            connection,
            finished: false,
        };
        D::script(&mut migration.connection, script).await?;
        migration.finished = true;
        Ok(D::number(&mut migration.connection, query).await?.unwrap_or_default())
    }

    async fn learn_limit(&self) -> sqlx::Result<()> {
        let mut connection = connection(&self.pool, false).await?;
        if let Some(longest) = D::longest(&mut connection).await? {
            self.longest.get_or_init(|| longest.unsigned_abs());
        }
        Ok(())
    }
}

/// A connection that runs a migration. If that fails, or nobody waits for it any more, the connection may be in the middle of a transaction, or have a lock:
/// it is closed, which ends both, and does not go back to the pool.
struct Migration<D: Dialect> {
    connection: PoolConnection<D>,
    finished: bool,
}

impl<D: Dialect> Drop for Migration<D> {
    fn drop(&mut self) {
        if !self.finished {
            self.connection.close_on_drop();
        }
    }
}
