// SPDX-License-Identifier: Apache-2.0
//! What the store is opened with.

use std::path::PathBuf;
use std::time::Duration;

use store::{FlushMode, StoreConfig};

use super::{BrokerRole, Config, FlushDiskType};

impl Config {
    /// The settings of the store among those of the broker.
    pub fn store(&self) -> StoreConfig {
        let ms = |ms: u32| Duration::from_millis(u64::from(ms));
        let mut store = StoreConfig::at(self.store_path_root_dir.as_str());
        let dirs = self
            .store_path_commit_log
            .split(',')
            .map(str::trim)
            .filter(|dir| !dir.is_empty());
        let dirs: Vec<PathBuf> = dirs.map(PathBuf::from).collect();
        if !dirs.is_empty() {
            store.commit_log_dirs = dirs;
        }
        store.follows = self.broker_role == BrokerRole::Slave;
        store.segment_bytes = u64::from(self.mapped_file_size_commit_log);
        store.queue_layout = self.consume_queue_layout;
        store.queue_file_bytes = u64::from(self.mapped_file_size_consume_queue);
        store.batch_queue_file_bytes = u64::from(self.mapper_file_size_batch_consume_queue);
        store.compaction_interval = ms(self.compaction_schedule_internal);
        store.compaction_file_bytes = u64::from(self.compaction_mapped_file_size);
        store.compaction_queue_file_bytes = u64::from(self.compaction_cq_mapped_file_size);
        store.compaction_memory_bytes = self.max_offset_map_size as usize;
        store.index_enabled = self.message_index_enable;
        store.index_slots = self.max_hash_slot_num;
        store.index_entries = self.max_index_num;
        store.flush = match self.flush_disk_type {
            FlushDiskType::Async => FlushMode::Async,
            FlushDiskType::Sync => FlushMode::Sync,
        };
        store.flush_interval = ms(self.flush_interval_commit_log);
        store.queue_flush_interval = ms(self.flush_interval_consume_queue);
        store.checkpoint_interval = ms(self.flush_consume_queue_thorough_interval);
        store.check_crc_on_recover = self.check_crc_on_recover;
        store.seal_records = self.enabled_append_prop_crc;
        store.demand_seals = self.force_verify_prop_crc;
        store.message_bytes_max = self.max_message_size as usize;
        store.pending_bytes_max = usize::try_from(self.append_pending_bytes_max).unwrap_or(usize::MAX);
        store.busy_after = Duration::from_millis(self.os_page_cache_busy_time_out_mills);
        store.hot_bytes = usize::try_from(self.hot_bytes).unwrap_or(usize::MAX);
        store.queue_files_open_max = self.queue_files_open_max as usize;
        store.delay_levels_ms = self.delay_levels_ms().unwrap_or(store.delay_levels_ms);
        store.reserved = Duration::from_secs(u64::from(self.file_reserved_time) * 3600);
        store.delete_when = self.delete_hours().unwrap_or(store.delete_when);
        store.clean_interval = ms(self.clean_resource_interval);
        store.delete_batch_max = self.delete_file_batch_max as usize;
        store.disk_used_max = u64::from(self.disk_max_used_space_ratio);
        store.clean_forcibly = self.clean_file_forcibly_enable;
        store.disk_clean_forcibly = u64::from(self.disk_space_clean_forcibly_ratio);
        store.disk_warning = u64::from(self.disk_space_warning_level_ratio);
        store
    }
}
