use std::convert::Infallible;
use std::time::Duration;

use tokio::time::Instant;

use super::cache::{Cache, SHARD_CAPACITY, SHARDS, Seen};

const TRUST: Duration = Duration::from_secs(5);

async fn read(cache: &Cache<u32, u32>, key: u32, value: u32) -> Seen<u32> {
    let Ok(seen) = cache.get(&key, async move { Ok::<_, Infallible>(value) }).await;
    seen
}

#[tokio::test(start_paused = true)]
async fn a_value_is_trusted_for_its_time_and_no_longer() {
    let cache = Cache::new(TRUST);
    let first = read(&cache, 1, 1).await;
    tokio::time::advance(Duration::from_millis(4_999)).await;
    let second = read(&cache, 1, 2).await;
    assert_eq!((second.value, second.until), (1, first.until), "trust is counted from the read");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(read(&cache, 1, 3).await.value, 3);
}

#[tokio::test(start_paused = true)]
async fn trust_begins_with_the_read_and_not_with_its_answer() {
    let cache = Cache::new(TRUST);
    let began = Instant::now();
    let slow = async {
        tokio::time::advance(Duration::from_secs(2)).await;
        Ok::<_, Infallible>(1)
    };
    let Ok(seen) = cache.get(&1, slow).await;
    assert_eq!(seen.until, began + TRUST);
}

#[tokio::test]
async fn an_invalidation_beats_a_read_under_way() {
    let cache = Cache::new(TRUST);
    let Ok(seen) = cache
        .get(&1, async {
            cache.invalidate(&1);
            Ok::<_, Infallible>(1)
        })
        .await;
    assert_eq!(seen.value, 1);
    assert!(!cache.holds(&1, seen.mark));
    assert_eq!(read(&cache, 1, 2).await.value, 2, "the stale value was not kept");
}

#[tokio::test]
async fn an_invalidation_is_of_its_key_alone() {
    let cache = Cache::new(TRUST);
    let seen = read(&cache, 0, 0).await;
    for neighbour in 1..1000 {
        cache.invalidate(&neighbour);
    }
    assert!(cache.holds(&0, seen.mark));
    cache.invalidate(&0);
    assert!(!cache.holds(&0, seen.mark));
}

#[tokio::test(start_paused = true)]
async fn it_is_bounded_and_forgets_no_invalidation_that_matters() {
    let cache = Cache::new(TRUST);
    let seen = read(&cache, 0, 0).await;
    cache.invalidate(&0);
    for key in 1..300_000 {
        read(&cache, key, 0).await;
    }
    assert!(cache.len() <= SHARDS * SHARD_CAPACITY);
    assert!(!cache.holds(&0, seen.mark));
    tokio::time::advance(TRUST * 2).await;
    cache.forget_lapsed();
    assert_eq!(cache.len(), 0);
}
