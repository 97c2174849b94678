package benchmarks

import (
	"fmt"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/configs"
)

// A feature is something of ours that costs a request time, with what turns it on.
type feature struct {
	name, title              string
	globals, service, routes func(b *Bench) string
	services                 func(b *Bench) string // beside the one that is measured
}

func fixed(text string) func(*Bench) string { return func(*Bench) string { return text } }

// features are measured beside ours without any of them. The first one is a request like all the others here.
func features() []feature {
	return []feature{
		{name: "routes", title: "1,000 routes", routes: fixed(configs.ManyRoutes(500)), services: fixed(configs.ManyRoutesElsewhere(500))},
		{name: "jwt", title: "JWT, cached", service: func(b *Bench) string {
			return "auth: {jwt: [{name: bench, issuer: https://id.example, jwks: '" + b.secrets.JWKS + "'}]}"
		}},
		{name: "limit", title: "rate limit by client address", service: fixed("rate_limits: [{name: bench, key: ClientIP, requests: 1000000000}]")},
		{name: "tracing", title: "tracing of 10 %", globals: func(b *Bench) string {
			return "tracing: {otlp_endpoint: 'http://" + b.spans.Addr + "/v1/traces', sample_percent: 10}"
		}},
		{name: "access", title: "access lists", service: fixed("access: {allow: [0.0.0.0/0], deny: [203.0.113.0/24]}")},
		{name: "headers", title: "three header fields set", routes: fixed(
			"- {name: headers, filters: [{request_headers: {set: {X-A: a, X-B: b}}}, {response_headers: {set: {X-C: c}}}]}")},
		{name: "breaker", title: "circuit breaker", service: fixed("circuit_breaker: {error_percent: 50}")},
		{name: "limits", title: "limits of requests and bodies", service: fixed("limits: {max_requests: 4096, max_body_bytes: 1048576}")},
		{name: "sticky", title: "sticky cookie", service: fixed("load_balancing: {sticky: {}}")},
		{name: "hash", title: "consistent hash", service: fixed("load_balancing: {algorithm: ConsistentHash, hash_on: {type: Path}}")},
		{name: "signing", title: "signed requests (HMAC-SHA256)", service: func(b *Bench) string {
			return "request_signing: {algorithm: HMACSHA256, key_id: bench, key_ref: {file: '" + b.secrets.Key + "'}}"
		}},
		{name: "security", title: "security headers", routes: fixed("- {name: security, filters: [{security_headers: {}}]}")},
	}
}

// variants are the contenders of the row of features.
func variants() []string {
	names := []string{Ours}
	for _, f := range features() {
		names = append(names, Ours+" "+f.name)
	}
	return names
}

// featureTitle is what the report calls a variant.
func featureTitle(variant string) string {
	for _, f := range features() {
		if variant == Ours+" "+f.name {
			return f.title
		}
	}
	return "none"
}

// feature adds to the configuration of ours what a variant has.
func (b *Bench) feature(variant string, set *configs.Settings) error {
	name, ok := strings.CutPrefix(variant, Ours+" ")
	if !ok {
		return nil
	}
	for _, f := range features() {
		if f.name != name {
			continue
		}
		for into, part := range map[*string]func(*Bench) string{&set.Globals: f.globals, &set.Service: f.service, &set.Routes: f.routes, &set.Services: f.services} {
			if part != nil {
				*into = part(b)
			}
		}
		return nil
	}
	return fmt.Errorf("there is no feature %q", name)
}
