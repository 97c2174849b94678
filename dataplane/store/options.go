package store

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// poolSize is more connections than there ever are, one a worker and one for the probe: after as many failures to connect
// the library itself looks for Redis, once a second, and nobody else may.
const poolSize = 256

// options are those of the client. No error holds the URL: somebody may have put a password there.
func options(config snapshot.Store, timeout time.Duration) (*redis.Options, error) {
	u, err := url.Parse(config.RedisURL)
	if err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("redis_url: must be a URL such as `redis://redis:6379/0`, without parameters")
	}
	o := &redis.Options{
		Addr:     net.JoinHostPort(u.Hostname(), "6379"),
		Username: u.User.Username(),
		Password: string(bytes.TrimRight(config.Password, "\r\n")), // files end their lines
		Protocol: 2,

		MaxRetries:    -1, // a request that was counted twice would be worse than one that nobody counted
		DialerRetries: 1,
		DialTimeout:   max(timeout, time.Second),
		ReadTimeout:   timeout,
		WriteTimeout:  timeout,
		PoolTimeout:   timeout,
		PoolSize:      poolSize,

		ContextTimeoutEnabled:    true,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if port := u.Port(); port != "" {
		o.Addr = net.JoinHostPort(u.Hostname(), port)
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if o.DB, err = strconv.Atoi(db); err != nil || o.DB < 0 {
			return nil, errors.New("redis_url: its path must be the number of a database, such as /0")
		}
	}
	switch u.Scheme {
	case "redis":
	case "rediss":
		o.TLSConfig = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
		if len(config.CA) > 0 {
			o.TLSConfig.RootCAs = x509.NewCertPool()
			if !o.TLSConfig.RootCAs.AppendCertsFromPEM(config.CA) {
				return nil, errors.New("ca_ref: there is no certificate in it")
			}
		}
	default:
		return nil, fmt.Errorf("redis_url: the scheme must be redis or rediss, not %q", u.Scheme)
	}
	return o, nil
}
