{{/* The pod template of the Deployment or DaemonSet. */}}
{{- define "pingora-proxy.pod" -}}
{{- $fullname := include "pingora-proxy.fullname" . -}}
{{- $metricsPort := include "pingora-proxy.metricsPort" . -}}
metadata:
  {{- with .Values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
  labels: {{- include "pingora-proxy.podLabels" . | nindent 4 }}
spec:
  serviceAccountName: {{ include "pingora-proxy.serviceAccountName" . }}
  automountServiceAccountToken: true
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- if .Values.hostNetwork }}
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  terminationGracePeriodSeconds: {{ include "pingora-proxy.gracePeriodSeconds" . }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
    {{- if and .Values.sysctls (not .Values.hostNetwork) }}
    sysctls: {{- toYaml .Values.sysctls | nindent 6 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and .Values.topologySpreadConstraints (eq .Values.kind "Deployment") }}
  topologySpreadConstraints:
    {{- range .Values.topologySpreadConstraints }}
    - {{ toYaml . | nindent 6 | trim }}
      {{- if not .labelSelector }}
      labelSelector:
        matchLabels: {{- include "pingora-proxy.selector" $ | nindent 10 }}
      {{- if not .matchLabelKeys }}
      matchLabelKeys: [pod-template-hash]
      {{- end }}
      {{- end }}
    {{- end }}
  {{- end }}
  containers:
    - name: proxy
      image: {{ include "pingora-proxy.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - controller
        - --config=/etc/pingora-proxy/config.yaml
        # The pod's own fields depend on these two: pods of before an upgrade must not follow the file to other values.
        - {{ printf "--metrics-bind-address=%s" (include "pingora-proxy.metricsAddress" .) | quote }}
        - --limits-drain-timeout-secs={{ include "pingora-proxy.drainSeconds" . }}
        - --class={{ .Values.className }}
        {{- with .Values.watchNamespaces }}
        - --watch-namespaces={{ join "," . }}
        {{- end }}
        {{- if .Values.service.enabled }}
        - --publish-service={{ .Release.Namespace }}/{{ $fullname }}
        {{- end }}
        {{- with .Values.allowedPorts }}
        - --allowed-ports={{ join "," . }}
        {{- end }}
        - --host-ownership={{ .Values.hostOwnership }}
        {{- if .Values.allowLocalAddresses }}
        - --allow-local-addresses
        {{- end }}
        {{- if .Values.allowExternalNames }}
        - --allow-external-names
        {{- end }}
        {{- if not .Values.rbac.secrets }}
        - --no-secrets
        {{- end }}
        - --cluster-domain={{ .Values.clusterDomain }}
        {{- if .Values.lastGoodFile.enabled }}
        - --last-good-file=/run/pingora-proxy/last-good
        {{- end }}
        {{- range .Values.extraArgs }}
        - {{ . | quote }}
        {{- end }}
      env:
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        - name: POD_NAMESPACE
          valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
        - name: POD_UID
          valueFrom: {fieldRef: {fieldPath: metadata.uid}}
        # Kubernetes puts the zone of the node on its pods from 1.35 on; empty elsewhere, and then no zone is preferred.
        - name: PINGORA_ZONE
          valueFrom: {fieldRef: {fieldPath: "metadata.labels['topology.kubernetes.io/zone']"}}
        - name: LOG_LEVEL
          value: {{ .Values.logLevel }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: metrics
          containerPort: {{ $metricsPort }}
        {{- range .Values.hostPorts }}
        - name: host-{{ . }}
          containerPort: {{ . }}
          hostPort: {{ . }}
        {{- end }}
      livenessProbe:
        httpGet: {path: /livez, port: metrics}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: metrics}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      {{- if gt (.Values.preStopSleepSeconds | int64) 0 }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.preStopSleepSeconds }}
      {{- end }}
      securityContext: {{- toYaml .Values.securityContext | nindent 8 }}
      {{- with .Values.resources }}
      resources: {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        # The directory: a file that is mounted alone would stay the old one.
        - name: config
          mountPath: /etc/pingora-proxy
          readOnly: true
        {{- if .Values.lastGoodFile.enabled }}
        - name: last-good
          mountPath: /run/pingora-proxy
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ $fullname }}
    {{- if .Values.lastGoodFile.enabled }}
    - name: last-good
      emptyDir:
        medium: Memory
        sizeLimit: {{ .Values.lastGoodFile.sizeLimit }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
