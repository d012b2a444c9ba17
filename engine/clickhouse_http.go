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

// ping returns nil when the engine answers on both ports.
func (c *ClickHouse) ping(ctx context.Context) error {
	if _, err := request(ctx, http.MethodGet, c.httpURL()+"/ping", "", "", ""); err != nil {
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
	return request(ctx, http.MethodPost, c.httpURL(), Admin, c.passwords[Admin], statement)
}

// request speaks the engine's HTTP protocol on a connection of its own, so that none is left open.
func request(ctx context.Context, method, url, user, password, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	if user != "" {
		req.Header.Set("X-ClickHouse-User", user)
		req.Header.Set("X-ClickHouse-Key", password)
	}
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
		return "", fmt.Errorf("clickhouse answers %s: %s", response.Status, strings.TrimSpace(string(answer)))
	}
	return string(answer), nil
}
