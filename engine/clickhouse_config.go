package engine

import "strconv"

// TieredPolicy is the storage policy of an embedded ClickHouse with two volumes, hot and cold,
// where a server's would lie on different disks.
const TieredPolicy = "tiered"

// configXML is the engine's configuration file. Sizes suit a laptop or a small CI machine.
func (c *ClickHouse) configXML() []byte {
	x := &xmlText{}
	x.open("clickhouse")
	x.leaf("listen_host", loopback)
	x.leaf("tcp_port", strconv.Itoa(c.tcp))
	x.leaf("http_port", strconv.Itoa(c.http))
	c.placesXML(x)
	c.limitsXML(x)
	x.open("query_log")
	x.leaf("database", "system").leaf("table", "query_log")
	x.leaf("flush_interval_milliseconds", "1000")
	x.close()
	c.storageXML(x)
	x.open(stopSection) // ours; the engine ignores it
	x.leaf("user", Admin).leaf("password", c.passwords[Admin])
	x.close()
	x.close()
	return []byte(x.String())
}

func (c *ClickHouse) placesXML(x *xmlText) {
	x.leaf("path", c.path("data")+"/")
	x.leaf("tmp_path", c.path("tmp")+"/")
	x.leaf("users_config", c.path("users.xml"))
	x.open("user_directories").open("users_xml").leaf("path", c.path("users.xml")).close().close()
	x.leaf("log-level", "information") // logger/level is overruled here
	x.open("logger")
	x.leaf("console", "0")
	x.leaf("log", c.path("clickhouse.log")).leaf("errorlog", c.path("clickhouse.err.log"))
	x.leaf("size", "20M").leaf("count", "2")
	x.close()
}

// limitsXML keeps memory and threads small. The merge_tree numbers go with the pool: the defaults
// would wait for more free threads than there are.
func (c *ClickHouse) limitsXML(x *xmlText) {
	x.leaf("max_server_memory_usage", strconv.FormatInt(c.config.MemoryLimit, 10))
	x.leaf("mark_cache_size", strconv.Itoa(64<<20))
	x.leaf("uncompressed_cache_size", "0")
	x.leaf("max_concurrent_queries", "100")
	x.leaf("background_pool_size", "4")
	x.leaf("background_schedule_pool_size", "8")
	x.leaf("background_common_pool_size", "2")
	x.leaf("background_move_pool_size", "1")
	x.leaf("background_fetches_pool_size", "1")
	x.open("merge_tree")
	x.leaf("number_of_free_entries_in_pool_to_execute_mutation", "2")
	x.leaf("number_of_free_entries_in_pool_to_lower_max_size_of_merge", "2")
	x.leaf("number_of_free_entries_in_pool_to_execute_optimize_entire_partition", "2")
	x.close()
}

func (c *ClickHouse) storageXML(x *xmlText) {
	x.open("storage_configuration")
	reserve := strconv.FormatInt(c.config.KeepFree, 10)
	x.open("disks")
	x.open("default").leaf("keep_free_space_bytes", reserve).close()
	x.open("cold").leaf("path", c.path("cold")+"/").leaf("keep_free_space_bytes", reserve).close()
	x.close()
	x.open("policies").open(TieredPolicy).open("volumes")
	x.open("hot").leaf("disk", "default").close()
	x.open("cold").leaf("disk", "cold").close()
	x.close().close().close()
	x.close()
}
