package configs

import (
	"strings"
	"testing"
)

func TestConfigurations(t *testing.T) {
	for _, tc := range []struct {
		file    string
		set     Settings
		want    []string
		without []string
	}{
		{
			"nginx.conf",
			Settings{Listen: "127.0.0.1:1", Origin: "127.0.0.1:2"},
			[]string{"listen 127.0.0.1:1 ", "server 127.0.0.1:2;", "keepalive 512;", "X-Forwarded-For"},
			[]string{"access_log"},
		},
		{"nginx.conf", Settings{AccessLog: "/l"}, []string{"access_log /l json buffer=64k", "log_format json"}, nil},
		{
			"haproxy.cfg",
			Settings{Listen: "127.0.0.1:1", Origin: "127.0.0.1:2", Splice: "off"},
			[]string{"bind 127.0.0.1:1 ", "server origin 127.0.0.1:2 ", "option forwardfor", "http-reuse always"},
			[]string{"splice", "log-format", "log global"},
		},
		{"haproxy.cfg", Settings{Splice: "auto", AccessLog: "/l"}, []string{"option splice-auto", "log global", "log-format"}, []string{"splice-response"}},
		{"haproxy.cfg", Settings{Splice: "always"}, []string{"option splice-response", "option splice-request"}, []string{"splice-auto"}},
		{"caddy.json", Settings{Listen: "127.0.0.1:1", Origin: "127.0.0.1:2"}, []string{`"127.0.0.1:1"`, `"dial": "127.0.0.1:2"`}, []string{"filename"}},
		{"nginx.conf", Settings{Upload: true}, []string{"proxy_request_buffering off;", "client_max_body_size 0;"}, nil},
		{"nginx.conf", Settings{}, nil, []string{"proxy_request_buffering"}},
		{"traefik-routes.yaml", Settings{Origin: "127.0.0.1:2"}, []string{"[{url: 'http://127.0.0.1:2'}]", "maxIdleConnsPerHost: 512"}, nil},
		{"caddy.json", Settings{AccessLog: "/l"}, []string{`"filename": "/l"`}, nil},
		{
			"ours.yaml",
			Settings{Listen: "127.0.0.1:1", Origin: "127.0.0.1:2", Admin: "127.0.0.1:3", Metrics: "127.0.0.1:4"},
			[]string{
				"access_log: {path: 'off'}", "bind_address: '127.0.0.1:1'", "upstreams: ['127.0.0.1:2']",
				"admin: {bind_address: '127.0.0.1:3'}", "metrics: {bind_address: '127.0.0.1:4'}",
			},
			[]string{"pprof"},
		},
		{"ours.yaml", Settings{AccessLog: "/l"}, []string{"access_log: {path: '/l'}"}, nil},
		{"ours.yaml", Settings{Profile: true}, []string{", pprof: true}"}, nil},
	} {
		text, err := tc.set.Render(tc.file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range tc.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in\n%s", tc.file, want, text)
			}
		}
		for _, no := range tc.without {
			if strings.Contains(text, no) {
				t.Errorf("%s: %q is in\n%s", tc.file, no, text)
			}
		}
	}
}
