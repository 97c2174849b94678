{{/* Whether the cluster knows a kind of monitoring.coreos.com/v1, of (dict "root" $ "kind" …). */}}
{{- define "pingora-proxy.knowsMonitor" -}}
{{- if or (not .root.Values.metrics.checkCRDs) (.root.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" .kind)) }}true{{ end -}}
{{- end -}}

{{/* The scrape of a monitor. */}}
{{- define "pingora-proxy.scrape" -}}
- port: metrics
  path: /metrics
  {{- with .interval }}
  interval: {{ . }}
  {{- end }}
  {{- with .scrapeTimeout }}
  scrapeTimeout: {{ . }}
  {{- end }}
  {{- with .relabelings }}
  relabelings: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .metricRelabelings }}
  metricRelabelings: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
