// A report holds a copy of this page, where a link to another file leads nowhere: then say where the page itself lies.
if (
  location.protocol === 'data:' ||
  location.protocol === 'blob:' ||
  location.protocol === 'about:' ||
  window !== window.top
) {
  document.getElementById('elsewhere')?.removeAttribute('hidden');
}
