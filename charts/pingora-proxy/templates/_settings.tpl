{{/* What follows from several values, and what must not go together. */}}

{{- define "pingora-proxy.metricsAddress" -}}
{{- $address := dig "metrics" "bind_address" "0.0.0.0:9102" (default dict .Values.config) -}}
{{- if not (regexMatch ":[1-9][0-9]*$" $address) -}}
{{- fail (printf "config.metrics.bind_address is %q: probes need an address with a port, such as 0.0.0.0:9102" $address) -}}
{{- end -}}
{{- if or (regexMatch "^(127\\.|\\[::1\\]|localhost:)" $address) -}}
{{- fail (printf "config.metrics.bind_address is %q: the kubelet's probes do not reach loopback; use 0.0.0.0 or [::]" $address) -}}
{{- end -}}
{{- $address -}}
{{- end -}}

{{- define "pingora-proxy.metricsPort" -}}
{{- include "pingora-proxy.metricsAddress" . | splitList ":" | last -}}
{{- end -}}

{{- define "pingora-proxy.adminAddress" -}}
{{- dig "admin" "bind_address" "127.0.0.1:9901" (default dict .Values.config) -}}
{{- end -}}

{{/* 0 where the admin API is off, or takes any port that is free. */}}
{{- define "pingora-proxy.adminPort" -}}
{{- include "pingora-proxy.adminAddress" . | splitList ":" | last | atoi -}}
{{- end -}}

{{/* What clients may reach, as ports of a NetworkPolicy: those of ProxyServices, cut where a port is the process's own. */}}
{{- define "pingora-proxy.clientPorts" -}}
{{- $admin := include "pingora-proxy.adminPort" . | int -}}
{{- $metrics := include "pingora-proxy.metricsPort" . | int -}}
{{- range default (list "1-65535") .Values.allowedPorts -}}
{{- $range := toString . | splitList "-" -}}
{{- $first := first $range | int -}}
{{- $end := last $range | int | add 1 -}}
{{- range $cut := list (min $admin $metrics) (max $admin $metrics) $end -}}
{{- if and (le $first $cut) (le $cut $end) -}}
{{- if lt $first $cut }}
- {protocol: TCP, port: {{ $first }}{{ if lt (add $first 1) $cut }}, endPort: {{ sub $cut 1 }}{{ end }}}
{{- end -}}
{{- $first = add $cut 1 | int -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "pingora-proxy.drainSeconds" -}}
{{- dig "limits" "drain_timeout_secs" 30 (default dict .Values.config) | int64 -}}
{{- end -}}

{{- define "pingora-proxy.gracePeriodSeconds" -}}
{{- $least := add .Values.preStopSleepSeconds (include "pingora-proxy.drainSeconds" .) | int64 -}}
{{- $given := .Values.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $given -}}
{{- add $least 10 -}}
{{- else if lt ($given | int64) $least -}}
{{- fail (printf "terminationGracePeriodSeconds is %d: a pod needs at least %d seconds to stop, preStopSleepSeconds and config.limits.drain_timeout_secs together" ($given | int64) $least) -}}
{{- else -}}
{{- $given | int64 -}}
{{- end -}}
{{- end -}}

{{/* Whether a pod takes ports of its node: two of them do not fit on one. */}}
{{- define "pingora-proxy.takesNodePorts" -}}
{{- if or .Values.hostNetwork .Values.hostPorts }}true{{ end -}}
{{- end -}}

{{- define "pingora-proxy.checks" -}}
{{- if and .Values.autoscaling.enabled (ne .Values.kind "Deployment") -}}
{{- fail "autoscaling.enabled needs kind Deployment: a DaemonSet has a pod on every node" -}}
{{- end -}}
{{- range .Values.allowedPorts -}}
{{- $range := toString . | splitList "-" -}}
{{- if or (gt (first $range | int) (last $range | int)) (gt (last $range | int) 65535) -}}
{{- fail (printf "allowedPorts has %v: must be a port up to 65535, or a range of them such as 8000-9000" .) -}}
{{- end -}}
{{- end -}}
{{- $placeholder := .Values.service.placeholder.port | int -}}
{{- if and .Values.service.enabled (eq $placeholder (include "pingora-proxy.metricsPort" . | int)) -}}
{{- fail (printf "service.placeholder.port is %d, the port of config.metrics.bind_address: the Service would expose the metrics" $placeholder) -}}
{{- end -}}
{{- if and .Values.service.enabled (eq $placeholder (include "pingora-proxy.adminPort" . | int)) -}}
{{- fail (printf "service.placeholder.port is %d, the port of config.admin.bind_address: the Service would expose the admin API" $placeholder) -}}
{{- end -}}
{{- $admin := include "pingora-proxy.adminAddress" . -}}
{{- if and .Values.networkPolicy.enabled (regexMatch ":0+$" $admin) (not (regexMatch "^(127\\.|\\[::1\\]|localhost:)" $admin)) -}}
{{- fail (printf "config.admin.bind_address is %q: a NetworkPolicy cannot keep clients from a port that is chosen at the start; name the port" $admin) -}}
{{- end -}}
{{- if and .Values.service.enabled .Values.service.externalTrafficPolicy (eq .Values.service.type "ClusterIP") -}}
{{- fail "service.externalTrafficPolicy needs service.type NodePort or LoadBalancer" -}}
{{- end -}}
{{- if and .Values.service.enabled (not (kindIs "invalid" .Values.service.placeholder.nodePort)) (eq .Values.service.type "ClusterIP") -}}
{{- fail "service.placeholder.nodePort needs service.type NodePort or LoadBalancer" -}}
{{- end -}}
{{- end -}}
