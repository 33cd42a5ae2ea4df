import react from '@vitejs/plugin-react'
import { defineConfig, type ProxyOptions } from 'vite'

const api: ProxyOptions = {
  target: process.env.EVERYTOKEN_URL ?? 'http://127.0.0.1:8000',
  configure(proxy) {
    // An interrupted answer ends in a broken connection. Vite's proxy would keep its own half open for ever.
    proxy.on('proxyRes', (answer, _, response) => {
      answer.on('close', () => answer.complete || response.destroy())
    })
  },
}
const proxy = { '/api': api }

export default defineConfig({
  plugins: [react()],
  server: { proxy },
  preview: { proxy },
})
