package demo

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
)

// comment is what a web framework says about the request that a statement
// serves, in the sqlcommenter convention (google.github.io/sqlcommenter/spec):
// keys in lexical order, keys and values URL-encoded, values in single quotes.
// The zero comment says nothing.
type comment struct {
	controller, action, route string
	trace                     string // W3C trace id, 32 hexadecimal digits
	first                     bool   // stands before the statement, as some frameworks have it
}

// request makes the comment of one request to the storefront.
func request(rng *rand.Rand, controller, action, route string) comment {
	return comment{controller, action, route, fmt.Sprintf("%016x%016x", rng.Uint64(), rng.Uint64()|1), false}
}

// around adds the comment to a statement; span is the id of the statement
// within the trace.
func (c comment) around(sql string, span uint64) string {
	if c == (comment{}) {
		return sql
	}
	pairs := []string{
		pair("action", c.action),
		pair("application", "storefront"),
		pair("controller", c.controller),
		pair("framework", "rails:7.1"),
		pair("route", c.route),
		pair("traceparent", fmt.Sprintf("00-%s-%016x-01", c.trace, span|1)),
	}
	text := "/*" + strings.Join(pairs, ",") + "*/"
	if c.first {
		return text + " " + sql
	}
	return sql + " " + text
}

func pair(key, value string) string {
	return url.PathEscape(key) + "='" + strings.ReplaceAll(url.QueryEscape(value), "+", "%20") + "'"
}
