// What the viewer (OHIF) is told at its start. The page loads this before the viewer's own program.
//
// The page lies at /viewer/namespaces/{namespace}/…: the namespace in the address is the only one whose studies can be
// seen, priors included, and every address the viewer makes for itself stays below it.

(() => {
  const BASE = '/viewer/';
  const root = /^\/viewer\/namespaces\/[^/]+/.exec(window.location.pathname)?.[0] ?? '/viewer';
  const dicomweb = `${window.location.origin}${root.slice('/viewer'.length)}/dicomweb`;

  // What the published page sets in inline scripts.
  console.time('scriptToView');
  window.PUBLIC_URL = BASE;
  window.browserImportFunction = address => import(address.startsWith('/') ? BASE + address.slice(1) : address);

  // Frames in the dense tier's codec where it was made, else as they were received, else decoded: never in a codec that
  // the viewer has no decoder for.
  const part = (type, syntax) =>
    `multipart/related; type="${type}"` + (syntax ? `; transfer-syntax=1.2.840.10008.1.2.${syntax}` : '');
  const frames = [
    part('image/jphc', '4.201'),
    part('image/jphc', '4.202'),
    part('image/jphc', '4.203'),
    part('image/jls', '4.80'),
    part('image/jls', '4.81'),
    part('image/jp2', '4.90'),
    part('image/jp2', '4.91'),
    part('image/jpeg', '4.70'),
    part('image/jpeg', '4.57'),
    part('image/jpeg', '4.50'),
    part('image/dicom-rle', '5'),
    part('application/octet-stream', '1'),
    // Last: the viewer's decoder for 12 bits is off by a constant, so frames are decoded by the server where it can.
    part('image/jpeg', '4.51'),
  ].join(', ');

  // Objects without pixels of their own that point at images of the study: opening one shows those images.
  const KEY_OBJECT = '1.2.840.10008.5.1.4.1.1.88.59';
  const PRESENTATION_STATES = [1, 2, 3, 4].map(number => `1.2.840.10008.5.1.4.1.1.11.${number}`);
  const STACK = '@ohif/extension-default.sopClassHandlerModule.stack';
  const list = value => (Array.isArray(value) ? value : value ? [value] : []);

  const referencedUids = instance => {
    const direct = list(instance.ContentSequence).flatMap(item => list(item.ReferencedSOPSequence));
    const series = list(instance.ReferencedSeriesSequence).flatMap(item => list(item.ReferencedImageSequence));
    return new Set([...direct, ...series].map(item => item.ReferencedSOPInstanceUID));
  };

  const displaySetOf = (instance, displaySets) => {
    const uids = referencedUids(instance);
    const isKeyObject = instance.SOPClassUID === KEY_OBJECT;
    // Looked up when they are shown: the images' own series may come later.
    const images = () =>
      displaySets
        .getActiveDisplaySets()
        .filter(set => set.SOPClassHandlerId === STACK && !set.septumReferences)
        .flatMap(set => list(set.images))
        .filter(image => uids.has(image.SOPInstanceUID));
    const name = instance.SeriesDescription || instance.ContentLabel || (isKeyObject ? 'Key images' : 'Presentation state');
    return {
      displaySetInstanceUID: crypto.randomUUID(),
      septumReferences: true,
      Modality: instance.Modality,
      SeriesDate: instance.SeriesDate,
      SeriesTime: instance.SeriesTime,
      SeriesInstanceUID: instance.SeriesInstanceUID,
      StudyInstanceUID: instance.StudyInstanceUID,
      // Behind all images, so that it is not what a study opens with.
      seriesNumber: Number.MAX_SAFE_INTEGER,
      SOPInstanceUID: instance.SOPInstanceUID,
      SOPClassUID: instance.SOPClassUID,
      SOPClassHandlerId: STACK,
      // Said openly: what the state does to its images is not shown.
      SeriesDescription: isKeyObject ? name : `State not applied: ${name}`,
      isReconstructable: false,
      isMultiFrame: false,
      viewportType: 'stack',
      numImageFrames: 0,
      instance,
      get images() {
        return images();
      },
      get instances() {
        const found = images();
        return found.length ? found : [instance];
      },
    };
  };

  const extension = {
    id: 'septum',
    preRegistration({ servicesManager }) {
      // The prefetcher takes whatever the study holds for images.
      const prefetcher = servicesManager.services.studyPrefetcherService;
      const imageIds = prefetcher._getImageIdsForDisplaySet?.bind(prefetcher);
      if (imageIds) {
        prefetcher._getImageIdsForDisplaySet = set => (set.unsupported || set.septumReferences ? [] : imageIds(set));
      }
    },
    getSopClassHandlerModule({ servicesManager }) {
      const { displaySetService } = servicesManager.services;
      const isNew = instance =>
        !displaySetService
          .getDisplaySetsForSeries(instance.SeriesInstanceUID)
          ?.some(set => set.SOPInstanceUID === instance.SOPInstanceUID);
      return [
        {
          name: 'references',
          sopClassUids: [KEY_OBJECT, ...PRESENTATION_STATES],
          getDisplaySetsFromSeries: instances =>
            instances.filter(isNew).map(instance => displaySetOf(instance, displaySetService)),
        },
      ];
    },
  };
  const withReferences = { sopClassHandlers: { $push: ['septum.sopClassHandlerModule.references'] } };

  window.config = {
    name: 'septum',
    routerBasename: root,
    extensions: [extension],
    modes: [],
    modesConfiguration: { '@ohif/mode-longitudinal': withReferences, '@ohif/mode-basic': withReferences },
    // No guided tour over the images.
    customizationService: { 'ohif.tours': { $set: [] } },
    showStudyList: true,
    showErrorDetails: 'dev',
    showWarningMessageForCrossOrigin: false,
    showCPUFallbackMessage: true,
    showLoadingIndicator: true,
    investigationalUseDialog: { option: 'never' },
    strictZSpacingForVolumeViewport: true,
    groupEnabledModesFirst: true,
    maxNumberOfWebWorkers: 3,
    maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 25 },
    studyPrefetcher: { enabled: true, displaySetsCount: 2, maxNumPrefetchRequests: 10, order: 'closest' },
    defaultDataSourceName: 'septum',
    dataSources: [
      {
        namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
        sourceName: 'septum',
        configuration: {
          friendlyName: 'Septum',
          name: 'septum',
          qidoRoot: dicomweb,
          wadoRoot: dicomweb,
          wadoUriRoot: dicomweb,
          qidoSupportsIncludeField: true,
          supportsFuzzyMatching: false,
          supportsWildcard: true,
          supportsReject: false,
          imageRendering: 'wadors',
          thumbnailRendering: 'wadors',
          enableStudyLazyLoad: true,
          acceptHeader: [frames],
          bulkDataURI: { enabled: true },
          dicomUploadEnabled: false,
        },
      },
    ],
    // The browser itself asks for a name and password again; whatever else fails is shown where it fails.
    httpErrorHandler: () => {},
  };
})();
