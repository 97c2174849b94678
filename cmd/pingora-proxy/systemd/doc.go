// Package systemd speaks with the service manager that has started the process: it tells it of its states (sd_notify(3)),
// and takes the sockets that it passes (sd_listen_fds(3)). Where nobody has asked for it nothing happens.
package systemd
