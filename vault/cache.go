package vault

// cache remembers the limit things that were asked for last, and for a while as
// many others: of two halves the younger takes in what is asked for, and when it
// is full the older one is forgotten. Up to limit things, none is.
type cache[K comparable, V any] struct {
	limit      int
	young, old map[K]V
	lost       bool // something was forgotten
}

func newCache[K comparable, V any](limit int) *cache[K, V] {
	return &cache[K, V]{limit: limit, young: make(map[K]V)}
}

func (c *cache[K, V]) get(k K) (v V, ok bool) {
	if v, ok = c.young[k]; ok {
		return v, true
	}
	if v, ok = c.old[k]; ok {
		c.put(k, v)
		delete(c.old, k)
	}
	return v, ok
}

func (c *cache[K, V]) put(k K, v V) {
	if _, ok := c.young[k]; !ok && len(c.young) >= c.limit {
		c.lost = c.lost || len(c.old) > 0
		c.young, c.old = make(map[K]V), c.young
	}
	c.young[k] = v
}

func (c *cache[K, V]) len() int { return len(c.young) + len(c.old) }
