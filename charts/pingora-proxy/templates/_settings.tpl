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
{{- $metrics := include "pingora-proxy.metricsPort" . | int64 -}}
{{- if and .Values.service.enabled (eq (.Values.service.placeholder.port | int64) $metrics) -}}
{{- fail (printf "service.placeholder.port is %d, the port of config.metrics.bind_address: the Service would expose the metrics" $metrics) -}}
{{- end -}}
{{- if and .Values.service.enabled .Values.service.externalTrafficPolicy (eq .Values.service.type "ClusterIP") -}}
{{- fail "service.externalTrafficPolicy needs service.type NodePort or LoadBalancer" -}}
{{- end -}}
{{- if and .Values.service.enabled (not (kindIs "invalid" .Values.service.placeholder.nodePort)) (eq .Values.service.type "ClusterIP") -}}
{{- fail "service.placeholder.nodePort needs service.type NodePort or LoadBalancer" -}}
{{- end -}}
{{- end -}}
