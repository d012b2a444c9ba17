package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// errRefused is that the engine answered, and that the answer is an error.
var errRefused = errors.New("clickhouse answers")

// ping returns nil when the engine answers on both ports, and is ours.
func (c *ClickHouse) ping(ctx context.Context) error {
	if _, err := c.asAdmin(ctx, "SELECT 1"); err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address(c.tcp))
	if err != nil {
		return err
	}
	return conn.Close()
}

// asAdmin runs one statement as the administrator and returns what it answers.
func (c *ClickHouse) asAdmin(ctx context.Context, statement string) (string, error) {
	return request(ctx, c.httpURL(), Admin, c.passwords[Admin], statement)
}

// request runs one statement over the HTTP protocol, on a connection of its own, so that none is
// left open.
func request(ctx context.Context, url, user, password, statement string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(statement))
	if err != nil {
		return "", err
	}
	req.Header.Set("X-ClickHouse-User", user)
	req.Header.Set("X-ClickHouse-Key", password)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(req)
	if err != nil {
		return "", err
	}
	answer, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%w %s: %s", errRefused, response.Status, strings.TrimSpace(string(answer)))
	}
	return string(answer), nil
}
