// Package telemetry is what one sees of the proxy from outside: its metrics, its access log and its process log.
//
// Metrics and AccessLog read the exchange.Record of a finished exchange and nothing else, on the goroutine that served
// it, so both are built for the hot path: counters are resolved once per route, lines are encoded without allocating,
// and no request ever waits for a disk or a scraper.
//
// It leaves to others: serving /metrics (admin), deciding what a request's outcome is called (proxy writes the Record),
// and the live state of endpoints (upstream; metrics asks for it at each scrape).
package telemetry
