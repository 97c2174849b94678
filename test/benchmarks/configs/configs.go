package configs

import (
	"bytes"
	"embed"
	"strings"
	"text/template"
)

//go:embed nginx.conf haproxy.cfg caddy.json traefik-routes.yaml ours.yaml
var files embed.FS

// Settings fill in the configuration of a contender.
type Settings struct {
	Listen, Origin string
	// AccessLog is the file of the access log, "" for none.
	AccessLog string
	// Splice says when HAProxy moves bodies with splice(2): always, auto or off.
	Splice string
	// Admin and Metrics are the addresses of ours for these.
	Admin, Metrics string
	// Profile lets ours serve profiles.
	Profile bool
	// Pair holds the certificate and its key, Cert the former and Key the latter alone; "" where clients speak no TLS.
	Pair, Cert, Key string
	// HTTP2 makes clients speak HTTP/2, and GRPC the origin too.
	HTTP2, GRPC bool
	// Upload is set where clients send bodies.
	Upload bool
	// Globals, Service, Routes and Services are what a feature adds to the configuration of ours.
	Globals, Service, Routes, Services string
}

// Render returns the file of that name, filled in.
func (s Settings) Render(name string) (string, error) {
	t, err := template.ParseFS(files, name)
	if err != nil {
		return "", err
	}
	s.Services = strings.ReplaceAll(s.Services, "{{.Listen}}", s.Listen)
	var b bytes.Buffer
	err = t.Execute(&b, s)
	return b.String(), err
}
