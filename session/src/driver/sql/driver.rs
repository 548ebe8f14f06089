//! The public types: one per database, each over the same `Store`.

/// Makes a driver of a database: its struct, which settings it takes, and the traits.
macro_rules! sql_driver {
    ($(#[$attribute:meta])* $name:ident, $text:literal, $database:ty) => {
        $(#[$attribute])*
        #[derive(Clone)]
        pub struct $name {
            store: Store<$database>,
        }

        impl $name {
            /// A driver over a pool that the application has already, with that pool's settings. The pool stays the
            /// application's: [`close`](Driver::close) leaves it open. If a call waits because the application itself
            /// uses all connections, the wait counts as the database's.
            pub fn from_pool(pool: Pool<$database>) -> Self {
                Self {
                    store: Store::new(pool, false),
                }
            }

            /// Keeps the sessions in this table. Defaults to `sessions`. A second table, named after it with `_schema` at its end, holds which
            /// migrations it has seen.
            ///
            /// # Errors
            ///
            /// If `table` is not a valid name for a table; the error says what is valid, because the name becomes part
            /// of statements. Names that end with `_schema`, `_expires_idx` or `_owner_idx` are not valid either: they
            /// are used for what is created beside a table.
            pub fn with_table(mut self, table: &str) -> Result<Self, ConfigError> {
                self.store.set_table(Table::parse::<$database>(table)?);
                Ok(self)
            }

            /// Takes the time from `clock`, and never from the database. All processes that share the table should agree on the time.
            #[must_use]
            pub fn with_clock(mut self, clock: impl Clock) -> Self {
                self.store.set_clock(Arc::new(clock));
                self
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct($text).field("table", &self.store.table).finish_non_exhaustive()
            }
        }

        #[async_trait]
        impl Driver for $name {
            async fn open(&self) -> Result<(), DriverError> {
                self.store.open().await
            }

            async fn close(&self) -> Result<(), DriverError> {
                self.store.close().await;
                Ok(())
            }

            async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
                self.store.read(key).await
            }

            async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
                self.store.write(key, record, expected).await
            }

            async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
                self.store.touch(key, expires_at).await
            }

            async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
                self.store.destroy(key).await
            }

            async fn gc(&self) -> Result<u64, DriverError> {
                self.store.gc().await
            }

            fn owners(&self) -> Option<&dyn OwnerIndex> {
                Some(self)
            }
        }

        #[async_trait]
        impl OwnerIndex for $name {
            async fn sessions_of(&self, owner: &str) -> Result<Vec<(StoreKey, Record)>, DriverError> {
                self.store.sessions_of(owner).await
            }

            async fn destroy_sessions_of(&self, owner: &str, except: Option<&StoreKey>) -> Result<u64, DriverError> {
                self.store.destroy_sessions_of(owner, except).await
            }
        }
    };
}
pub(super) use sql_driver;
