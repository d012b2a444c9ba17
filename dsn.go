package pgwitness

import (
	"fmt"
	"net/url"
)

// hostOf is the host:port of a DSN in URL form.
func hostOf(dsn string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("read DSN: it is not a URL with a host")
	}
	return u.Host, nil
}

// withDatabase is dsn, a URL, leading to another database.
func withDatabase(dsn, name string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("read DSN: it is not a URL")
	}
	u.Path = "/" + name
	return u.String(), nil
}
