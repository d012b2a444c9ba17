package pgwitness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pgwitness/pgwitness/audit"
)

// listen opens the port of metrics and health; nil when it is off.
func (w *Witness) listen() (net.Listener, error) {
	if w.cfg.HTTP.Listen == "off" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", w.cfg.HTTP.Listen)
	if err != nil {
		return nil, audit.WithHint(fmt.Errorf("open port of metrics and health: %w", err),
			"set http.listen to another address, or to off")
	}
	return listener, nil
}

func closeListener(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

// serveHTTP answers /metrics, /healthz (the process lives) and /readyz (every
// stream is connected to both databases) until ctx ends.
func (w *Witness) serveHTTP(ctx context.Context, listener net.Listener) error {
	if listener == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(w.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "ok") })
	mux.HandleFunc("GET /readyz", w.answerReady)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics and health: %w", err)
	}
	return nil
}

// answerReady lists the streams and what keeps them from running.
func (w *Witness) answerReady(rw http.ResponseWriter, _ *http.Request) {
	states, ready := w.states.all()
	if !ready {
		rw.WriteHeader(http.StatusServiceUnavailable)
	}
	for _, s := range states {
		fmt.Fprintf(rw, "%s: %s\n", s.stream, s.text)
	}
}

// Health asks the /readyz of a running sidecar; nil when it is ready.
func Health(ctx context.Context, cfg Config) error {
	if cfg.HTTP.Listen == "off" {
		return audit.WithHint(errors.New("ask for health: the configuration opens no port"), "set http.listen in the configuration")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+dialable(cfg.HTTP.Listen)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return audit.WithHint(fmt.Errorf("ask for health: %w", err), "is the sidecar running? start it with `pgwitness run`")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask for health: the sidecar answers %s", resp.Status)
	}
	return nil
}

// dialable turns an address to listen on into one to connect to.
func dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
