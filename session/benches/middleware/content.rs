//! What is in a session that is measured. `benches/stores` measures the same.

use serde_json::{Map, Value, json};

/// What handlers answer once they have done what the workload says.
pub(crate) const DONE: &str = "done";
/// The key that workloads read and write, and its first value.
pub(crate) const KEY: &str = "views";
pub(crate) const VALUE: u64 = 41;

/// Ten keys, as a small shop might have them: 855 bytes of JSON.
pub(crate) fn content() -> Map<String, Value> {
    let content = json!({
        "user_id": 184_467,
        "name": "Grace Brewster Murray Hopper",
        "email": "grace.hopper@example.com",
        "roles": ["customer", "editor", "newsletter"],
        "locale": "en-US",
        "time_zone": "America/New_York",
        "cart": [
            { "sku": "A-1003-BLUE", "title": "Mechanical keyboard, brown switches", "quantity": 1, "price": 129.9 },
            { "sku": "A-2417-GREY", "title": "Wrist rest, walnut, 36 cm", "quantity": 2, "price": 34.5 },
            { "sku": "B-0092-NONE", "title": "Cable, USB-C to USB-A, 1.5 m", "quantity": 3, "price": 9.99 },
            { "sku": "C-7710-BLCK", "title": "Desk mat, 90 x 40 cm, felt", "quantity": 1, "price": 24.0 },
            { "sku": "D-5521-WHTE", "title": "Lamp, dimmable, with a clamp", "quantity": 1, "price": 64.75 }
        ],
        "last_search": "another quiet keyboard for an open office, with a numeric pad, and nothing that blinks while the machine is asleep",
        "seen": [10_443, 20_771, 31_008, 40_112, 51_920, 60_003, 71_555, 80_021, 90_434, 99_120, 100_006, 110_983],
        KEY: VALUE,
    });
    match content {
        Value::Object(content) => content,
        _ => unreachable!("it is written as an object"),
    }
}
